package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"modelmanager.dev"
)

// Bucket is a tree of objects. An object appears whole or not at all, and is
// durable once the Close of its Writer has returned. A Bucket may be used by
// many goroutines, and one of files by many processes, at once. Errors carry a
// code: CodeNotFound, CodeConflict, CodeBadRequest for an impossible key,
// CodeStorage for everything that the medium did.
type Bucket struct {
	backend backend
	url     string
}

// Attributes describes an object. The ETag changes whenever the content does.
type Attributes struct {
	Size     int64
	ETag     string // quoted, as in HTTP
	Modified time.Time
}

// Object is an entry of a list.
type Object struct {
	Key      string
	Size     int64
	Modified time.Time
}

// backend is one medium. Keys have been checked.
type backend interface {
	open(ctx context.Context, key string, r span) (io.ReadCloser, error)
	create(ctx context.Context, key string, exclusive bool) (sink, error)
	stat(ctx context.Context, key string) (Attributes, error)
	// list returns at most limit objects in order of their keys.
	list(ctx context.Context, prefix, after string, limit int) ([]Object, error)
	// remove removes an object; removing one that isn't there is no error.
	remove(ctx context.Context, key string) error
	// sweep drops what unfinished writes have left since before.
	sweep(ctx context.Context, before time.Time) error
	close() error
}

// span is what to read of an object: length bytes, −1 for all, from offset on.
type span struct {
	offset, length int64
	etag           string // unless "": what the object must be
}

// sink is an object that is being written.
type sink interface {
	io.Writer
	commit() error // makes it appear; it can't be used after
	abort()        // leaves no trace of it
}

// Close frees what the bucket holds.
func (b *Bucket) Close() error { return b.backend.close() }

// Room returns how many bytes more the bucket has room for, if its medium is a
// disk; known is false otherwise.
func (b *Bucket) Room() (bytes int64, known bool) {
	if disk, ok := b.backend.(*files); ok {
		return disk.room()
	}
	return 0, false
}

// URL returns the address that the bucket was opened with.
func (b *Bucket) URL() string { return b.url }

// Read reads length bytes from offset on; length −1: to the end. A range that
// goes beyond the end is cut there.
func (b *Bucket) Read(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if offset < 0 {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "reading %s: the offset %d is negative", key, offset)
	}
	return b.backend.open(ctx, key, span{offset: offset, length: length})
}

// ReadMatching reads like Read, of an object that must still have an ETag;
// CodeInputChanged if it doesn't, or is gone.
func (b *Bucket) ReadMatching(ctx context.Context, key, etag string, offset, length int64) (io.ReadCloser, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if offset < 0 {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "reading %s: the offset %d is negative", key, offset)
	}
	return b.backend.open(ctx, key, span{offset: offset, length: length, etag: etag})
}

// ReadAll reads a small object, of at most limit bytes.
func (b *Bucket) ReadAll(ctx context.Context, key string, limit int64) ([]byte, error) {
	r, err := b.Read(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, storageError("reading", key, err)
	}
	if int64(len(data)) > limit {
		return nil, modelmanager.Errorf(modelmanager.CodeTooLarge, "reading %s: it is larger than %d bytes", key, limit)
	}
	return data, nil
}

// Write starts an object; it replaces one of this key when it is closed.
func (b *Bucket) Write(ctx context.Context, key string) (*Writer, error) {
	return b.writer(ctx, key, false)
}

// CreateWrite starts an object that may not exist yet: of many that write the
// same key exactly one succeeds, and the Close of the others fails with
// CodeConflict.
func (b *Bucket) CreateWrite(ctx context.Context, key string) (*Writer, error) {
	return b.writer(ctx, key, true)
}

func (b *Bucket) writer(ctx context.Context, key string, exclusive bool) (*Writer, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	s, err := b.backend.create(ctx, key, exclusive)
	if err != nil {
		return nil, err
	}
	return &Writer{ctx: ctx, key: key, sink: s}, nil
}

// WriteAll writes a small object.
func (b *Bucket) WriteAll(ctx context.Context, key string, data []byte) error {
	return b.all(ctx, key, data, false)
}

// Create writes a small object that may not exist yet, as CreateWrite does.
func (b *Bucket) Create(ctx context.Context, key string, data []byte) error {
	return b.all(ctx, key, data, true)
}

// maxBusy bounds how often a small write begins anew because of another.
const maxBusy = 5

func (b *Bucket) all(ctx context.Context, key string, data []byte, exclusive bool) error {
	for try := 1; ; try++ {
		w, err := b.writer(ctx, key, exclusive)
		if err != nil {
			return err
		}
		if err = w.all(data); !errors.Is(err, errBusy) || try == maxBusy {
			return err
		}
	}
}

// Stat describes an object; CodeNotFound if there is none.
func (b *Bucket) Stat(ctx context.Context, key string) (Attributes, error) {
	if err := checkKey(key); err != nil {
		return Attributes{}, err
	}
	return b.backend.stat(ctx, key)
}

// List returns at most limit objects whose keys start with prefix and are
// greater than startAfter, in order of their keys; limit 0: all.
func (b *Bucket) List(ctx context.Context, prefix, startAfter string, limit int) ([]Object, error) {
	if prefix != "" {
		// The rest of a key may follow, so the last part of a prefix is free.
		if err := checkKey(prefix + "x"); err != nil {
			return nil, err
		}
	}
	if limit <= 0 {
		limit = 1<<31 - 1
	}
	return b.backend.list(ctx, prefix, startAfter, limit)
}

// Delete removes an object; removing one that isn't there is no error.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return b.backend.remove(ctx, key)
}

// DeletePrefix removes every object whose key starts with prefix, which may
// not be empty.
func (b *Bucket) DeletePrefix(ctx context.Context, prefix string) error {
	if prefix == "" {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "deleting objects: an empty prefix would delete all of them")
	}
	for after := ""; ; {
		objects, err := b.List(ctx, prefix, after, 1000)
		if err != nil || len(objects) == 0 {
			return err
		}
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(deletesAtOnce)
		for _, object := range objects {
			group.Go(func() error { return b.backend.remove(ctx, object.Key) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
		after = objects[len(objects)-1].Key
	}
}

// deletesAtOnce bounds the requests of a DeletePrefix: a store far away takes
// many at once.
const deletesAtOnce = 16

// Writer writes one object. Exactly one of Close and Abort ends it; Abort
// after Close does nothing, so that it can be deferred.
type Writer struct {
	ctx  context.Context
	key  string
	sink sink
	err  error
	done bool
}

// Write adds to the object.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.sink.Write(p)
	if err != nil {
		w.err = err
		if known := new(modelmanager.Error); !errors.As(err, &known) {
			w.err = storageError("writing", w.key, err)
		}
	}
	return n, w.err
}

// Close makes the object appear, unless a Write failed or the context ended.
func (w *Writer) Close() error {
	if w.done {
		return w.err
	}
	w.done = true
	if w.err == nil && w.ctx.Err() != nil {
		w.err = w.ctx.Err()
	}
	if w.err != nil {
		w.sink.abort()
		return w.err
	}
	w.err = w.sink.commit()
	return w.err
}

// Abort drops the object.
func (w *Writer) Abort() {
	if w.done {
		return
	}
	w.done, w.err = true, fmt.Errorf("writing %s: aborted", w.key)
	w.sink.abort()
}

func (w *Writer) all(data []byte) error {
	defer w.Abort()
	if _, err := io.Copy(w, bytes.NewReader(data)); err != nil {
		return err
	}
	return w.Close()
}

func storageError(doing, key string, err error) error {
	return modelmanager.Errorf(modelmanager.CodeStorage, "%s %s: %w", doing, key, err)
}

func notFound(key string) error {
	return modelmanager.Errorf(modelmanager.CodeNotFound, "there is no object %s", key)
}

func changed(key string) error {
	return modelmanager.Errorf(modelmanager.CodeInputChanged, "reading %s: it isn't what it was any more", key)
}

func exists(key string) error {
	return modelmanager.Errorf(modelmanager.CodeConflict, "writing %s: it exists already", key)
}
