package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"modelmanager.dev"
)

// files keeps objects as plain files under a directory. It isn't gocloud's
// fileblob, whose write-if-absent is a check followed by a rename (two writers
// can both succeed), which follows symbolic links out of its directory, and
// which never syncs. os.Root makes the kernel keep every path inside.
type files struct{ dir string }

func newFiles(dir string) (*files, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeStorage, "opening the directory %s: %w", dir, err)
	}
	return &files{dir: dir}, nil
}

func (f *files) close() error { return nil }

// root is opened anew for each call: a directory that was unmounted, or
// replaced, in the meantime is the one that is there now.
func (f *files) root() (*os.Root, error) {
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeStorage, "opening the directory %s: %w", f.dir, err)
	}
	return root, nil
}

func (f *files) open(_ context.Context, key string, r span) (io.ReadCloser, error) {
	root, err := f.root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	// Without O_NONBLOCK, opening a named pipe would wait for ever.
	file, err := root.OpenFile(key, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		if r.etag != "" && gone(err) {
			return nil, changed(key)
		}
		return nil, f.fail("reading", key, err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if r.etag != "" && (gone(err) || err == nil && etag(info) != r.etag) {
		_ = file.Close()
		return nil, changed(key)
	}
	if err == nil && r.offset > 0 {
		_, err = file.Seek(r.offset, io.SeekStart)
	}
	if err != nil {
		_ = file.Close()
		return nil, f.fail("reading", key, err)
	}
	if r.length < 0 {
		return file, nil
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(file, r.length), file}, nil
}

func (f *files) stat(_ context.Context, key string) (Attributes, error) {
	root, err := f.root()
	if err != nil {
		return Attributes{}, err
	}
	defer root.Close()
	info, err := root.Stat(key)
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return Attributes{}, f.fail("looking at", key, err)
	}
	return Attributes{Size: info.Size(), ETag: etag(info), Modified: info.ModTime()}, nil
}

// etag names a file's content: a file that is written by replacing it gets a
// new inode, one that is written in place a new time.
func etag(info fs.FileInfo) string {
	var inode uint64
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = stat.Ino
	}
	return fmt.Sprintf("%q", fmt.Sprintf("%x-%x-%x", info.ModTime().UnixNano(), info.Size(), inode))
}

func (f *files) remove(_ context.Context, key string) error {
	root, err := f.root()
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Remove(key); err != nil && !gone(err) {
		return f.fail("deleting", key, err)
	}
	// Folders exist only as long as something is in them.
	for dir := path.Dir(key); dir != "."; dir = path.Dir(dir) {
		if root.Remove(dir) != nil {
			break
		}
	}
	return nil
}

// room is what the disk has left for who isn't its superuser.
func (f *files) room() (bytes int64, known bool) {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(f.dir, &disk); err != nil {
		return 0, false
	}
	return int64(disk.Bavail) * int64(disk.Bsize), true
}

func (f *files) fail(doing, key string, err error) error {
	if gone(err) {
		return notFound(key)
	}
	return storageError(doing, key, err)
}

func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

func (f *files) create(_ context.Context, key string, exclusive bool) (sink, error) {
	root, err := f.root()
	if err != nil {
		return nil, err
	}
	temp := scratch + "/" + rand.Text()
	file, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	for try := 0; gone(err) && try < 100; try++ {
		if err = root.MkdirAll(scratch, 0o750); err == nil {
			file, err = root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
		}
	}
	if err != nil {
		_ = root.Close()
		return nil, storageError("writing", key, err)
	}
	return &fileSink{File: file, root: root, temp: temp, key: key, exclusive: exclusive}, nil
}

// fileSink is a file in the scratch folder that takes its name at the end. A
// link fails if the name is taken, a rename replaces: both at once or not at all.
type fileSink struct {
	*os.File
	root      *os.Root
	temp, key string
	exclusive bool
}

func (s *fileSink) commit() error {
	defer s.root.Close()
	err := s.File.Sync()
	err = errors.Join(err, s.File.Close())
	if err != nil {
		s.drop()
		return storageError("writing", s.key, err)
	}
	err = s.place()
	for try := 0; gone(err) && try < 100; try++ {
		// The folder isn't there yet, or its last object was just deleted; it
		// may come and go while it is made, which is "file exists" to MkdirAll.
		if made := s.root.MkdirAll(path.Dir(s.key), 0o750); made == nil {
			err = s.place()
		} else if !gone(made) && !errors.Is(made, fs.ErrExist) {
			err = made
		}
	}
	if s.exclusive || err != nil {
		s.drop()
	}
	switch {
	case s.exclusive && errors.Is(err, fs.ErrExist):
		return exists(s.key)
	case err != nil:
		return storageError("writing", s.key, err)
	}
	return s.syncFolder()
}

func (s *fileSink) place() error {
	if s.exclusive {
		return s.root.Link(s.temp, s.key)
	}
	return s.root.Rename(s.temp, s.key)
}

func (s *fileSink) syncFolder() error {
	dir, err := s.root.Open(path.Dir(s.key))
	if err != nil {
		return nil // just emptied by somebody who deleted the object again
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return storageError("writing", s.key, err)
	}
	return nil
}

func (s *fileSink) abort() {
	defer s.root.Close()
	_ = s.File.Close()
	s.drop()
}

func (s *fileSink) drop() {
	_ = s.root.Remove(s.temp)
	_ = s.root.Remove(scratch) // if it is empty
}

// sweep removes files that writers left when they were killed.
func (f *files) sweep(_ context.Context, before time.Time) error {
	root, err := f.root()
	if err != nil {
		return err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), scratch)
	if err != nil {
		return nil // nothing was left
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.ModTime().Before(before) {
			_ = root.Remove(scratch + "/" + entry.Name())
		}
	}
	return nil
}

func (f *files) list(ctx context.Context, prefix, after string, limit int) ([]Object, error) {
	root, err := f.root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	w := walk{ctx: ctx, root: root.FS(), prefix: prefix, after: after, limit: limit}
	dir := ""
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		dir = prefix[:i]
	}
	if err := w.folder(dir); err != nil && !errors.Is(err, errEnough) {
		return nil, storageError("listing", prefix, err)
	}
	return w.found, nil
}
