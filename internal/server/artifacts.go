package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"modelmanager.dev"
	"modelmanager.dev/internal/archive"
	"modelmanager.dev/internal/storage"
)

// artifacts keeps the archives of published folders in object storage, under
// their digests: an archive is there once, and never changes.
type artifacts struct {
	bucket  *storage.Bucket
	uploads *storage.Uploads
}

// adopt makes an upload the artifact of a version.
func (a *artifacts) adopt(ctx context.Context, upload string) (modelmanager.Artifact, error) {
	var none modelmanager.Artifact
	info, err := a.uploads.Get(ctx, upload)
	if err != nil {
		return none, fmt.Errorf("taking the artifact: %w", err)
	}
	if err := a.check(ctx, upload, "sha256:"+info.SHA256); err != nil {
		return none, err
	}
	artifact := modelmanager.Artifact{
		Digest: "sha256:" + info.SHA256, Archive: "artifacts/" + info.SHA256 + ".tar.zst", Size: info.Size,
	}
	if _, err := a.bucket.Stat(ctx, artifact.Archive); err == nil {
		return artifact, nil
	}
	source, err := a.uploads.Open(ctx, upload)
	if err != nil {
		return none, err
	}
	defer source.Close()
	target, err := a.bucket.CreateWrite(ctx, artifact.Archive)
	if err != nil {
		return none, err
	}
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(target, hash), source); err != nil {
		target.Abort()
		return none, fmt.Errorf("keeping the artifact: %w", err)
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != info.SHA256 {
		target.Abort()
		return none, modelmanager.Errorf(modelmanager.CodeStorage, "upload %s has changed: its sha256 was %s and is %s", upload, info.SHA256, got)
	}
	if err := target.Close(); err != nil && modelmanager.CodeOf(err) != modelmanager.CodeConflict {
		return none, fmt.Errorf("keeping the artifact: %w", err)
	}
	return artifact, nil
}

// check refuses an upload that isn't an archive, by unpacking it.
func (a *artifacts) check(ctx context.Context, upload, digest string) error {
	source, err := a.uploads.Open(ctx, upload)
	if err != nil {
		return err
	}
	defer source.Close()
	scratch, err := os.MkdirTemp("", "artifact-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	unpacked := filepath.Join(scratch, "model")
	defer archive.Remove(unpacked)
	if err := archive.Extract(ctx, source, unpacked, digest, archive.Limits{}); err != nil {
		return fmt.Errorf("upload %s is not the archive of a model's folder: %w", upload, err)
	}
	return nil
}

// open reads an artifact, for a platform that unpacks it.
func (a *artifacts) open(ctx context.Context, artifact modelmanager.Artifact) (io.ReadCloser, error) {
	return a.bucket.Read(ctx, artifact.Archive, 0, -1)
}
