package storage

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/gcerrors"

	"modelmanager.dev"
)

// cloud keeps objects in a bucket of gocloud.dev/blob whose medium can write
// if absent.
type cloud struct {
	bucket *blob.Bucket
	vendor vendor
	name   string // scheme://bucket, for messages
	prefix string // of all keys: "", or a folder with the last slash
}

// vendor is what gocloud.dev/blob leaves to each medium.
type vendor interface {
	// startAfter makes a list begin behind a key, or somewhere before.
	startAfter(as func(any) bool, key string)
	// matching makes a read fail unless the object has the ETag, if one is given.
	matching(as func(any) bool, etag string) error
	// etag names an object's content.
	etag(a *blob.Attributes) string
	// sign makes a URL of the medium's own; ok is false if it can't.
	sign(ctx context.Context, bucket *blob.Bucket, r signRequest) (signed SignedURL, ok bool, err error)
	// sweep drops what unfinished writes have left under a prefix since before.
	sweep(ctx context.Context, prefix string, before time.Time) error
	// advice tells what to do about an error; "" if it doesn't know.
	advice(err error) (status, text string)
}

// plain is a medium of which there is nothing to say.
type plain struct{}

func (plain) startAfter(func(any) bool, string)              {}
func (plain) matching(func(any) bool, string) error          { return nil }
func (plain) etag(a *blob.Attributes) string                 { return a.ETag }
func (plain) sweep(context.Context, string, time.Time) error { return nil }
func (plain) advice(error) (string, string)                  { return "", "" }
func (plain) sign(context.Context, *blob.Bucket, signRequest) (SignedURL, bool, error) {
	return SignedURL{}, false, nil
}

func newMemory() *cloud {
	return &cloud{bucket: memblob.OpenBucket(&memblob.Options{NoMD5: true}), vendor: plain{}, name: "mem://"}
}

func (c *cloud) close() error { return c.bucket.Close() }

func (c *cloud) open(ctx context.Context, key string, r span) (io.ReadCloser, error) {
	_, simple := c.vendor.(plain)
	if simple && r.etag != "" {
		a, err := c.stat(ctx, key)
		if modelmanager.CodeOf(err) == modelmanager.CodeNotFound || err == nil && a.ETag != r.etag {
			return nil, changed(key)
		}
		if err != nil {
			return nil, err
		}
	}
	reader, err := c.bucket.NewRangeReader(ctx, c.prefix+key, r.offset, r.length, &blob.ReaderOptions{
		BeforeRead: func(as func(any) bool) error { return c.vendor.matching(as, r.etag) },
	})
	if err == nil {
		return reader, nil
	}
	if code := gcerrors.Code(err); r.etag != "" && (code == gcerrors.FailedPrecondition || statusOf(err) == statusPrecondition) {
		return nil, changed(key)
	}
	err = c.fail("reading", key, err)
	if modelmanager.CodeOf(err) == modelmanager.CodeNotFound && r.etag != "" {
		return nil, changed(key)
	}
	if r.offset == 0 && r.length < 0 || modelmanager.CodeOf(err) != modelmanager.CodeStorage {
		return nil, err
	}
	// Media differ in what they say of a range beyond the end.
	if a, failed := c.stat(ctx, key); failed == nil && r.offset >= a.Size && (r.etag == "" || r.etag == a.ETag) {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	return nil, err
}

func (c *cloud) stat(ctx context.Context, key string) (Attributes, error) {
	a, err := c.bucket.Attributes(ctx, c.prefix+key)
	if err != nil {
		return Attributes{}, c.fail("looking at", key, err)
	}
	return Attributes{Size: a.Size, ETag: c.vendor.etag(a), Modified: a.ModTime}, nil
}

func (c *cloud) list(ctx context.Context, prefix, after string, limit int) ([]Object, error) {
	options := &blob.ListOptions{Prefix: c.prefix + prefix}
	token := blob.FirstPageToken
	if after != "" {
		options.BeforeList = func(as func(any) bool) error {
			c.vendor.startAfter(as, c.prefix+after)
			return nil
		}
	}
	var found []Object
	for len(found) < limit {
		page, next, err := c.bucket.ListPage(ctx, token, min(limit-len(found)+1, 1000), options)
		if err != nil {
			return nil, c.fail("listing", prefix, err)
		}
		for _, o := range page {
			key := o.Key[len(c.prefix):]
			if key > after && checkKey(key) == nil && len(found) < limit {
				found = append(found, Object{Key: key, Size: o.Size, Modified: o.ModTime})
			}
		}
		if len(next) == 0 {
			break
		}
		token = next
	}
	return found, nil
}

func (c *cloud) remove(ctx context.Context, key string) error {
	err := c.bucket.Delete(ctx, c.prefix+key)
	if err == nil {
		return nil
	}
	if err = c.fail("deleting", key, err); modelmanager.CodeOf(err) == modelmanager.CodeNotFound {
		return nil
	}
	return err
}

func (c *cloud) sweep(ctx context.Context, before time.Time) error {
	if err := c.vendor.sweep(ctx, c.prefix, before); err != nil {
		return c.fail("sweeping", "", err)
	}
	return nil
}

// Of one object that is being written, so many parts of this size are in
// memory. S3 has 10,000 parts at most, so this is also what bounds an object.
const (
	partSize  = 16 << 20
	partsSent = 2
)

// authorKey is the metadata of an object written if absent that says who wrote
// it: the medium may have done a write whose answer was lost, and refuses when
// it is asked again.
const authorKey = "author"

func (c *cloud) create(ctx context.Context, key string, exclusive bool) (sink, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &cloudSink{ctx: ctx, cancel: cancel, outcome: make(chan error, 1), cloud: c, key: key}
	options := &blob.WriterOptions{
		ContentType:    "application/octet-stream", // or gocloud would hold the first bytes back to guess
		IfNotExist:     exclusive,
		BufferSize:     partSize,
		MaxConcurrency: partsSent,
	}
	if exclusive {
		s.author = rand.Text()
		options.Metadata = map[string]string{authorKey: s.author}
	}
	reader, writer := io.Pipe()
	s.pipe = writer
	go func() {
		// Not NewWriter: azureblob's panics when it is closed after a failure.
		err := c.bucket.Upload(ctx, c.prefix+key, reader, options)
		if err != nil {
			err = s.failed(err)
		}
		_ = reader.CloseWithError(err) // wakes a Write
		s.outcome <- err
	}()
	return s, nil
}

type cloudSink struct {
	ctx     context.Context
	cancel  context.CancelFunc
	pipe    *io.PipeWriter
	outcome chan error
	cloud   *cloud
	key     string
	author  string // of a write if absent
}

func (s *cloudSink) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return s.pipe.Write(p)
}

func (s *cloudSink) commit() error {
	defer s.cancel()
	_ = s.pipe.Close()
	return <-s.outcome
}

// failed says what became of an upload that has failed; nil if it was done all
// the same.
func (s *cloudSink) failed(err error) error {
	if cause := s.ctx.Err(); cause != nil {
		return cause
	}
	if s.author == "" || !refused(err) {
		return s.cloud.fail("writing", s.key, err)
	}
	a, failed := s.cloud.bucket.Attributes(s.ctx, s.cloud.prefix+s.key)
	switch {
	case failed != nil && gcerrors.Code(failed) == gcerrors.NotFound:
		// Refused because of another write at the same time, which came to nothing.
		return modelmanager.Errorf(modelmanager.CodeStorage, "writing %s: %w", s.cloud.title(s.key), errBusy)
	case failed != nil:
		return s.cloud.fail("writing", s.key, failed)
	case a.Metadata[authorKey] == s.author:
		return nil // by an earlier try of ours
	}
	return exists(s.key)
}

func (s *cloudSink) abort() {
	s.cancel() // before the pipe ends: then the object doesn't appear
	_ = s.pipe.CloseWithError(errAborted)
	<-s.outcome
}

var errAborted = errors.New("aborted")

// refused tells whether a medium refused to write what is there, or what
// another is writing.
func refused(err error) bool {
	switch gcerrors.Code(err) {
	case gcerrors.FailedPrecondition, gcerrors.AlreadyExists:
		return true
	}
	status := statusOf(err)
	return status == statusPrecondition || status == statusConflict
}

// errBusy is of a write that met another, or a deletion, and may be repeated.
var errBusy = errors.New("it was being written or deleted at the same time; try again")

var errNoBucket = errors.New("there is no such bucket")
