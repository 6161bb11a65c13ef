package repository

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"modelmanager.dev"
)

// CheckOut lays folders of a tree out under dir, where they lie as in the
// repository ("." is all of it). Files are what was committed, byte for byte: no
// filter is run, but a pointer of Git LFS becomes its file where this clone has
// it. It returns the submodules that lie in the folders, which aren't brought.
//
// Nothing is written outside of dir, whatever a tree's names and links are.
func (r *Repository) CheckOut(ctx context.Context, tree string, folders []string, dir string) (submodules []string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	objects, err := r.Objects(ctx)
	if err != nil {
		return nil, err
	}
	defer objects.Close()
	write := func(entry Entry) error {
		if entry.Mode == ModeSubmodule {
			submodules = append(submodules, entry.Path)
			return nil
		}
		if err := r.write(root, objects, entry); err != nil {
			return fmt.Errorf("checking out %q: %w", entry.Path, err)
		}
		return nil
	}
	return submodules, r.listIn(ctx, tree, folders, write)
}

// Submodules tells which submodules lie in folders of a tree ("." is all of it).
func (r *Repository) Submodules(ctx context.Context, tree string, folders []string) (submodules []string, err error) {
	err = r.listIn(ctx, tree, folders, func(entry Entry) error {
		if entry.Mode == ModeSubmodule {
			submodules = append(submodules, entry.Path)
		}
		return nil
	})
	return submodules, err
}

// listIn is List for any number of folders, of which none means none, and "." all.
func (r *Repository) listIn(ctx context.Context, tree string, folders []string, each func(Entry) error) error {
	if slices.Contains(folders, ".") {
		return r.List(ctx, tree, nil, each)
	}
	const atOnce = 500 // folders of one git command
	folders = slices.Compact(slices.Sorted(slices.Values(folders)))
	for some := range slices.Chunk(folders, atOnce) {
		if err := r.List(ctx, tree, some, each); err != nil {
			return err
		}
	}
	return nil
}

func (r *Repository) write(root *os.Root, objects *Objects, entry Entry) error {
	name := filepath.FromSlash(entry.Path)
	if !filepath.IsLocal(name) {
		return modelmanager.Errorf(modelmanager.CodeInvalidSpec, "the repository has a file with a path that can't be: %q", entry.Path)
	}
	if parent := filepath.Dir(name); parent != "." {
		if err := root.MkdirAll(parent, 0o755); err != nil {
			return err
		}
	}
	if entry.Mode == ModeLink {
		target, err := objects.Read(entry.Hash, 4096)
		if err != nil {
			return err
		}
		if err := root.Symlink(string(target), name); !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	}
	mode := fs.FileMode(0o644)
	if entry.Mode == ModeExecutable {
		mode = 0o755
	}
	file, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	head := &beginning{w: file}
	if _, err = objects.Copy(head, entry.Hash); err == nil {
		err = r.unpoint(file, head.data)
	}
	return errors.Join(err, file.Close())
}

// beginning keeps the first bytes of what is written.
type beginning struct {
	w    io.Writer
	data []byte
	long bool
}

// pointerSize is more than any pointer of Git LFS has.
const pointerSize = 1024

func (b *beginning) Write(p []byte) (int, error) {
	if room := pointerSize - len(b.data); room >= len(p) {
		b.data = append(b.data, p...)
	} else {
		b.data, b.long = append(b.data, p[:room]...), true
	}
	return b.w.Write(p)
}

const pointerBegin = "version https://git-lfs.github.com/spec/v1\n"

// unpoint puts a file in the place of its Git LFS pointer, if that is what was
// written, and this clone has the file.
func (r *Repository) unpoint(file *os.File, head []byte) error {
	if len(head) >= pointerSize || !bytes.HasPrefix(head, []byte(pointerBegin)) {
		return nil
	}
	_, rest, _ := strings.Cut(string(head), "\noid sha256:")
	hash, _, _ := strings.Cut(rest, "\n")
	if len(hash) != 2*sha256.Size || strings.Trim(hash, "0123456789abcdef") != "" {
		return nil
	}
	large, err := os.Open(filepath.Join(r.Common, "lfs", "objects", hash[:2], hash[2:4], hash))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // who checks the model says that it is a pointer
	}
	if err != nil {
		return err
	}
	defer large.Close()
	if err := file.Truncate(0); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(file, sum), large); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != hash {
		return modelmanager.Errorf(modelmanager.CodeInvalidSpec, "the clone's Git LFS object %s is damaged; run git lfs fetch", hash)
	}
	return nil
}

// Existed tells whether a file was ever there in the history that leads to a
// commit, as far as this clone has it.
func (r *Repository) Existed(ctx context.Context, commit, file string) (bool, error) {
	if !isHash(commit) {
		return false, nil
	}
	output, err := r.git(ctx, "rev-list", "-1", "--end-of-options", commit, "--", path.Clean(file))
	return len(output) > 0, err
}
