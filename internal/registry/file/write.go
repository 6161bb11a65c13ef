package file

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"modelmanager.dev"
	"modelmanager.dev/internal/pause"
)

// Steps of a write, at any of which a process may die.
const (
	stepWrite    = "write"    // the temporary file
	stepAppear   = "appear"   // under its own name
	stepSync     = "sync"     // the folder
	stepAnnounce = "announce" // in the journal
)

const temporary = ".new-"

func (s *Store) step(step string) error {
	if s.fault == nil {
		return nil
	}
	return s.fault(step)
}

// replace puts data in a file's place. The model's lock is held.
func (s *Store) replace(folder, path string, data []byte) error {
	name, err := s.stage(folder, data)
	if err != nil {
		return err
	}
	if err := s.step(stepAppear); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	if err := os.Rename(name, path); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return s.sync(filepath.Dir(path))
}

// create makes a file, and fails with fs.ErrExist if there is one: then too
// it is on the disk. The model's lock is held.
func (s *Store) create(folder, path string, data []byte) error {
	name, err := s.stage(folder, data)
	if err != nil {
		return err
	}
	if err := s.step(stepAppear); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	linkErr := os.Link(name, path)
	if err := os.Remove(name); err != nil && linkErr == nil {
		linkErr = err
	}
	if linkErr != nil && !errors.Is(linkErr, os.ErrExist) {
		return linkErr
	}
	return errors.Join(linkErr, s.sync(filepath.Dir(path)))
}

// stage writes data to a temporary file in a model's folder, and removes
// those that writers left behind who died: under the lock there is no other.
func (s *Store) stage(folder string, data []byte) (name string, err error) {
	names, err := readNames(folder)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if strings.HasPrefix(name, temporary) {
			if err := os.Remove(filepath.Join(folder, name)); err != nil {
				return "", err
			}
		}
	}
	if err := s.step(stepWrite); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(folder, temporary+"*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

func (s *Store) sync(folder string) error {
	if err := s.step(stepSync); err != nil {
		return err
	}
	return syncFolder(folder)
}

func syncFolder(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// makeFolder makes a folder and those above it, on the disk.
func makeFolder(folder string) error {
	if info, err := os.Stat(folder); err == nil {
		if !info.IsDir() {
			return &os.PathError{Op: "mkdir", Path: folder, Err: syscall.ENOTDIR}
		}
		return nil
	}
	parent := filepath.Dir(folder)
	if parent != folder {
		if err := makeFolder(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return syncFolder(parent)
}

// lock takes the lock of a model's folder: one writer at a time, among all
// processes. It ends when released, or with the process.
func lock(ctx context.Context, folder string) (release func(), err error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, failed("locking "+folder, err)
	}
	const longest = 20 * time.Millisecond
	for delay := 250 * time.Microsecond; ; delay = min(2*delay, longest) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, failed("locking "+folder, err)
		}
		if !pause.For(ctx, delay) {
			f.Close()
			code := modelmanager.CodeCancelled
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				code = modelmanager.CodeDeadlineExceeded
			}
			return nil, modelmanager.Errorf(code, "waiting for the lock of %s: %w", folder, ctx.Err())
		}
	}
}
