package storage

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"modelmanager.dev"
)

// UploadsKeptFor is how long an upload that nothing refers to stays.
const UploadsKeptFor = 24 * time.Hour

// Uploads are files that callers streamed in. An upload is uploads/<id>/data;
// uploads/<id>/upload.json, written after it, makes it exist, and each object
// under uploads/<id>/held/ keeps it.
type Uploads struct {
	bucket *Bucket
	taking *semaphore.Weighted
}

// uploadsAtOnce bounds the files that are taken in at a time: of each, some
// parts are in memory on their way to object storage (see partSize).
const uploadsAtOnce = 16

// NewUploads keeps uploads in a bucket.
func NewUploads(bucket *Bucket) *Uploads {
	return &Uploads{bucket: bucket, taking: semaphore.NewWeighted(uploadsAtOnce)}
}

var uploadID = regexp.MustCompile(`^[A-Z2-7]{26}$`)

// Put streams a file of at most limit bytes (0: any) in; CodeTooManyRequests
// while as many others are being taken in as there may be.
func (u *Uploads) Put(ctx context.Context, r io.Reader, limit int64) (modelmanager.Upload, error) {
	if !u.taking.TryAcquire(1) {
		err := modelmanager.Errorf(modelmanager.CodeTooManyRequests,
			"this server is taking in %d files, as many as it does at a time; send yours again in a few seconds", uploadsAtOnce)
		err.RetryAfter = 5 * time.Second
		return modelmanager.Upload{}, err
	}
	defer u.taking.Release(1)
	upload := modelmanager.Upload{ID: rand.Text()}
	w, err := u.bucket.Write(ctx, u.Key(upload.ID))
	if err != nil {
		return modelmanager.Upload{}, err
	}
	defer w.Abort()
	stored, err := receive(w, r, limit)
	if err != nil {
		return modelmanager.Upload{}, err
	}
	if err := w.Close(); err != nil {
		return modelmanager.Upload{}, err
	}
	upload.Size, upload.SHA256 = stored.Size, stored.SHA256
	return upload, u.record(ctx, upload)
}

// Room is for how many bytes of uploads there is room; known is false where
// nobody can tell.
func (u *Uploads) Room() (bytes int64, known bool) { return u.bucket.Room() }

func (u *Uploads) record(ctx context.Context, upload modelmanager.Upload) error {
	data, err := json.Marshal(upload)
	if err != nil {
		return err
	}
	return u.bucket.WriteAll(ctx, u.folder(upload.ID)+"upload.json", data)
}

// Get describes a complete upload; CodeNotFound if there is none.
func (u *Uploads) Get(ctx context.Context, id string) (modelmanager.Upload, error) {
	var upload modelmanager.Upload
	missing := modelmanager.Errorf(modelmanager.CodeNotFound, "there is no upload %q; uploads that nothing uses go after %s", id, UploadsKeptFor)
	if !uploadID.MatchString(id) {
		return upload, missing
	}
	data, err := u.bucket.ReadAll(ctx, u.folder(id)+"upload.json", 1<<20)
	if modelmanager.CodeOf(err) == modelmanager.CodeNotFound {
		return upload, missing
	}
	if err != nil {
		return upload, err
	}
	if err := json.Unmarshal(data, &upload); err != nil {
		return upload, storageError("reading the record of the upload", id, err)
	}
	return upload, nil
}

// Open reads an upload.
func (u *Uploads) Open(ctx context.Context, id string) (io.ReadCloser, error) {
	if _, err := u.Get(ctx, id); err != nil {
		return nil, err
	}
	return u.bucket.Read(ctx, u.Key(id), 0, -1)
}

// Key is the key of an upload's data in the bucket.
func (u *Uploads) Key(id string) string { return u.folder(id) + "data" }

func (u *Uploads) folder(id string) string { return "uploads/" + id + "/" }

// Hold keeps an upload until holder, a job's id, releases it.
func (u *Uploads) Hold(ctx context.Context, id, holder string) (modelmanager.Upload, error) {
	if _, err := u.Get(ctx, id); err != nil {
		return modelmanager.Upload{}, err
	}
	if err := u.bucket.WriteAll(ctx, u.folder(id)+"held/"+holder, nil); err != nil {
		return modelmanager.Upload{}, err
	}
	// A sweep may have come in between; if so, it restores the record when it
	// sees us, or we see that the record is gone.
	upload, err := u.Get(ctx, id)
	if err != nil {
		_ = u.Release(ctx, id, holder)
	}
	return upload, err
}

// Release ends a Hold.
func (u *Uploads) Release(ctx context.Context, id, holder string) error {
	if !uploadID.MatchString(id) {
		return nil
	}
	return u.bucket.Delete(ctx, u.folder(id)+"held/"+holder)
}

// Sweep deletes uploads that have been there since before and that nothing
// holds, complete or not, and returns how many.
func (u *Uploads) Sweep(ctx context.Context, before time.Time) (int, error) {
	unfinished := u.bucket.backend.sweep(ctx, before) // failing, it keeps nothing else from being swept
	deleted, after := 0, "uploads/"
	for {
		objects, err := u.bucket.List(ctx, "uploads/", after, 1)
		if err != nil || len(objects) == 0 {
			return deleted, errors.Join(unfinished, err)
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(objects[0].Key, "uploads/"), "/")
		after = u.folder(id) + "\U0010ffff"
		ok, err := u.sweep(ctx, id, before)
		if err != nil {
			return deleted, err
		}
		if ok {
			deleted++
		}
	}
}

func (u *Uploads) sweep(ctx context.Context, id string, before time.Time) (bool, error) {
	objects, err := u.bucket.List(ctx, u.folder(id), "", 0)
	if err != nil {
		return false, err
	}
	for _, object := range objects {
		if strings.Contains(object.Key, "/held/") || !object.Modified.Before(before) {
			return false, nil
		}
	}
	upload, err := u.Get(ctx, id)
	complete := err == nil
	if err := u.bucket.Delete(ctx, u.folder(id)+"upload.json"); err != nil {
		return false, err
	}
	held, err := u.bucket.List(ctx, u.folder(id)+"held/", "", 1)
	if err != nil {
		return false, err
	}
	if len(held) > 0 && complete {
		return false, u.record(ctx, upload)
	}
	return true, u.bucket.DeletePrefix(ctx, u.folder(id))
}
