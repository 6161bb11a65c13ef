package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"modelmanager.dev"
	"modelmanager.dev/internal/archive"
)

// artifacts are the unpacked folders of versions, each under its digest, each
// unpacked once.
type artifacts struct {
	dir     string
	open    func(ctx context.Context, artifact modelmanager.Artifact) (io.ReadCloser, error)
	unpacks singleflight.Group
}

func newArtifacts(dir string, open func(context.Context, modelmanager.Artifact) (io.ReadCloser, error)) *artifacts {
	return &artifacts{dir: dir, open: open}
}

var digestForm = regexp.MustCompile(`^sha256:([0-9a-f]{64})$`)

// folder returns the folder of an artifact's files, unpacked.
func (a *artifacts) folder(ctx context.Context, artifact modelmanager.Artifact) (string, error) {
	match := digestForm.FindStringSubmatch(artifact.Digest)
	if match == nil {
		return "", modelmanager.Errorf(modelmanager.CodeInternal, "the artifact's digest %q is none", artifact.Digest)
	}
	dir := filepath.Join(a.dir, match[1])
	now := time.Now()
	if os.Chtimes(dir, now, now) == nil { // sweep goes by it
		return dir, nil
	}
	result := a.unpacks.DoChan(match[1], func() (any, error) {
		// It goes on when its first caller has gone: others wait for it.
		return nil, a.unpack(context.WithoutCancel(ctx), artifact, dir)
	})
	select {
	case r := <-result:
		return dir, r.Err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (a *artifacts) unpack(ctx context.Context, artifact modelmanager.Artifact, dir string) (err error) {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	content, err := a.open(ctx, artifact)
	if err != nil {
		return fmt.Errorf("fetching the version's files: %w", err)
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	if err := archive.Extract(ctx, content, dir, artifact.Digest, archive.Limits{}); err != nil {
		return fmt.Errorf("unpacking the version's files: %w", err)
	}
	return nil
}

// sweep removes folders that were not used for unused, but for those in keep.
func (a *artifacts) sweep(keep map[string]bool, unused time.Duration) (removed int, err error) {
	entries, err := os.ReadDir(a.dir)
	if err != nil {
		return 0, fmt.Errorf("sweeping the unpacked artifacts: %w", err)
	}
	for _, entry := range entries {
		dir := filepath.Join(a.dir, entry.Name())
		info, statErr := entry.Info()
		if statErr != nil || keep[dir] || time.Since(info.ModTime()) < unused {
			continue
		}
		// It leaves its place at once: one that is half removed is no artifact.
		ruin := filepath.Join(a.dir, ".removed-"+strings.TrimPrefix(entry.Name(), ".removed-"))
		if renameErr := os.Chmod(dir, 0o700); renameErr == nil && dir != ruin {
			err = errors.Join(err, os.Rename(dir, ruin))
		}
		err = errors.Join(err, archive.Remove(ruin))
		removed++
	}
	return removed, err
}
