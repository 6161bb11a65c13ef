package storage

import (
	"context"
	"crypto/rand"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"gocloud.dev/blob"

	"modelmanager.dev"
)

// openTimeout bounds how long a store may take to show that it is there.
const openTimeout = time.Minute

// Open opens a store:
//
//	file:///an/absolute/directory       created if need be
//	mem://                              empty, and gone when the Bucket is
//	s3://bucket/folder?region=…         S3, or with &endpoint=https://… another store that speaks its protocol
//	gs://bucket/folder                  Google Cloud Storage
//	azblob://container/folder           Azure Blob Storage
//
// Parameters are those of gocloud.dev/blob's URLs; credentials come from the
// environment, as each vendor's own tools find them. The store is asked
// whether it is there and does what it has to, so that an operator's mistake is
// told at once.
func Open(ctx context.Context, address string) (*Bucket, error) {
	b, err := open(ctx, address)
	if err != nil {
		return nil, err
	}
	if c, ok := b.backend.(*cloud); ok {
		ctx, cancel := context.WithTimeout(ctx, openTimeout)
		defer cancel()
		_, err := c.list(ctx, "", "", 1)
		if err == nil {
			err = b.prove(ctx)
		}
		if err != nil {
			_ = c.close()
			return nil, c.opening(err)
		}
	}
	return b, nil
}

// prove tries whether a store keeps a write if absent from replacing what is
// there. Some that speak the protocol of S3 take the condition and ignore it;
// with them a job could be done twice, and differently.
func (b *Bucket) prove(ctx context.Context) error {
	key := "probe/" + rand.Text()
	if err := b.Create(ctx, key, nil); err != nil {
		return err
	}
	err := b.Create(ctx, key, nil)
	if failed := b.Delete(ctx, key); failed != nil {
		return failed
	}
	switch {
	case err == nil:
		return modelmanager.Errorf(modelmanager.CodeStorage, "the store ignores the condition of a write (If-None-Match: *); "+
			"it can't be used, maybe a newer release of it can")
	case modelmanager.CodeOf(err) != modelmanager.CodeConflict:
		return err
	}
	return nil
}

// open opens a store without asking it for anything.
func open(ctx context.Context, address string) (*Bucket, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "opening a storage: the address can't be read: %w", err.(*url.Error).Err)
	}
	b := &Bucket{url: withoutQuery(address)}
	switch u.Scheme {
	case "file":
		if u.Host != "" || u.User != nil || u.RawQuery != "" || !filepath.IsAbs(u.Path) {
			return nil, modelmanager.Errorf(modelmanager.CodeBadRequest,
				"opening the storage %q: write it as file:///an/absolute/directory", b.url)
		}
		b.backend, err = newFiles(filepath.Clean(u.Path))
	case "mem":
		b.backend = newMemory()
	case "s3", "gs", "azblob":
		b.backend, err = openCloud(ctx, u)
	default:
		err = modelmanager.Errorf(modelmanager.CodeBadRequest,
			"opening the storage %q: there is no scheme %q here, use file://, s3://, gs:// or azblob://", b.url, u.Scheme)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// withoutQuery leaves parameters out of an address: some stores have a secret there.
func withoutQuery(address string) string {
	address, _, _ = strings.Cut(address, "?")
	return strings.TrimSuffix(address, "/")
}

func openCloud(ctx context.Context, u *url.URL) (*cloud, error) {
	name := u.Scheme + "://" + u.Host
	refuse := func(why string) (*cloud, error) {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "opening the storage %s: %s", name, why)
	}
	if u.Host == "" || u.Port() != "" || u.User != nil || u.Fragment != "" {
		return refuse("write it as " + u.Scheme + "://bucket/folder")
	}
	prefix := strings.Trim(u.Path, "/")
	if prefix != "" {
		if err := checkKey(prefix); err != nil {
			return refuse(err.Error())
		}
		prefix += "/"
	}
	openers := map[string]func(context.Context, *url.URL) (*blob.Bucket, vendor, error){
		"s3": openS3, "gs": openGCS, "azblob": openAzure,
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	bucket, vendor, err := openers[u.Scheme](ctx, u)
	if err != nil {
		return refuse(err.Error())
	}
	return &cloud{bucket: bucket, vendor: vendor, name: name, prefix: prefix}, nil
}
