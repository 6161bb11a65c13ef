package storage

import (
	"context"
	"errors"
	"io"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/gcerrors"
)

// cloud keeps objects in any bucket of gocloud.dev/blob whose medium can
// write if absent.
type cloud struct{ bucket *blob.Bucket }

func newCloud(context.Context) *cloud {
	return &cloud{bucket: memblob.OpenBucket(&memblob.Options{NoMD5: true})}
}

func (c *cloud) close() error { return c.bucket.Close() }

func (c *cloud) open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	attributes, err := c.stat(ctx, key)
	if err != nil {
		return nil, err
	}
	// Media differ in what they say of a range beyond the end.
	offset = min(offset, attributes.Size)
	if length < 0 || length > attributes.Size-offset {
		length = attributes.Size - offset
	}
	r, err := c.bucket.NewRangeReader(ctx, key, offset, length, nil)
	if err != nil {
		return nil, c.fail("reading", key, err)
	}
	return r, nil
}

func (c *cloud) stat(ctx context.Context, key string) (Attributes, error) {
	a, err := c.bucket.Attributes(ctx, key)
	if err != nil {
		return Attributes{}, c.fail("looking at", key, err)
	}
	return Attributes{Size: a.Size, ETag: a.ETag, Modified: a.ModTime}, nil
}

func (c *cloud) list(ctx context.Context, prefix, after string, limit int) ([]Object, error) {
	var found []Object
	it := c.bucket.List(&blob.ListOptions{Prefix: prefix})
	for len(found) < limit {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, storageError("listing", prefix, err)
		}
		if o.Key > after {
			found = append(found, Object{Key: o.Key, Size: o.Size, Modified: o.ModTime})
		}
	}
	return found, nil
}

func (c *cloud) remove(ctx context.Context, key string) error {
	if err := c.bucket.Delete(ctx, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return storageError("deleting", key, err)
	}
	return nil
}

func (c *cloud) create(ctx context.Context, key string, exclusive bool) (sink, error) {
	ctx, cancel := context.WithCancel(ctx)
	w, err := c.bucket.NewWriter(ctx, key, &blob.WriterOptions{
		ContentType: "application/octet-stream", // or gocloud would hold the first bytes back to guess
		IfNotExist:  exclusive,
	})
	if err != nil {
		cancel()
		return nil, c.fail("writing", key, err)
	}
	return &cloudSink{Writer: w, cancel: cancel, cloud: c, key: key}, nil
}

type cloudSink struct {
	*blob.Writer
	cancel context.CancelFunc
	cloud  *cloud
	key    string
}

func (s *cloudSink) commit() error {
	defer s.cancel()
	if err := s.Writer.Close(); err != nil {
		return s.cloud.fail("writing", s.key, err)
	}
	return nil
}

func (s *cloudSink) abort() {
	s.cancel() // before Close: then the object doesn't appear
	_ = s.Writer.Close()
}

func (c *cloud) fail(doing, key string, err error) error {
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return notFound(key)
	case gcerrors.FailedPrecondition, gcerrors.AlreadyExists:
		return exists(key)
	}
	return storageError(doing, key, err)
}
