package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
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

	"github.com/klauspost/compress/zstd"

	"modelmanager.dev"
)

// Limits bounds what Extract writes. A zero field has a default.
type Limits struct {
	Bytes int64 // of all files together; default 20 GiB
	Files int   // files and links; default 200,000
}

func (l Limits) withDefaults() Limits {
	if l.Bytes <= 0 {
		l.Bytes = 20 << 30
	}
	if l.Files <= 0 {
		l.Files = 200_000
	}
	return l
}

// Extract unpacks an archive into dir, which must not exist yet, and appears
// only when it is complete. Files can only be read (and run, where they were
// marked so). digest, "sha256:…", is what the archive's bytes must have.
func Extract(ctx context.Context, r io.Reader, dir, digest string, limits Limits) error {
	partial, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+"-*")
	if err != nil {
		return fmt.Errorf("unpacking an archive: %w", err)
	}
	defer Remove(partial)
	root, err := os.OpenRoot(partial)
	if err != nil {
		return fmt.Errorf("unpacking an archive: %w", err)
	}
	defer root.Close()
	hash := sha256.New()
	source := io.TeeReader(contextReader{ctx, r}, hash)
	e := &extractor{root: root, left: limits.withDefaults()}
	if err := e.all(source); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, source); err != nil {
		return fmt.Errorf("reading an archive: %w", err)
	}
	if got := "sha256:" + hex.EncodeToString(hash.Sum(nil)); got != digest {
		return modelmanager.Errorf(modelmanager.CodeStorage,
			"the archive has the digest %s, not %s: it was damaged or replaced in object storage; publish the version's content again", got, digest)
	}
	if err := seal(partial); err != nil {
		return err
	}
	err = os.Rename(partial, dir)
	if errors.Is(err, fs.ErrExist) {
		return nil // another process has unpacked the same
	}
	if err == nil {
		err = os.Chmod(dir, 0o555) // only now: a folder that may not be written to can't be renamed
	}
	if err != nil {
		return fmt.Errorf("unpacking an archive: %w", err)
	}
	return nil
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

type extractor struct {
	root  *os.Root
	left  Limits
	links []string
}

func (e *extractor) all(source io.Reader) error {
	plain, closePlain, err := decompress(source)
	if err != nil {
		return err
	}
	defer closePlain()
	in := tar.NewReader(plain)
	for {
		header, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return modelmanager.Errorf(modelmanager.CodeBadRequest, "reading an archive: it is damaged: %w", err)
		}
		if err := e.entry(header, in); err != nil {
			return err
		}
	}
	for _, link := range e.links {
		if _, err := e.root.Stat(link); err != nil {
			return modelmanager.Errorf(modelmanager.CodeBadRequest, "the archive's link %s points out of the folder, or at nothing: %w", link, err)
		}
	}
	return nil
}

func (e *extractor) entry(header *tar.Header, content io.Reader) error {
	name := path.Clean(header.Name)
	if header.Typeflag == tar.TypeXGlobalHeader || name == "." {
		return nil
	}
	if err := checkPath(name); err != nil {
		return err
	}
	if e.left.Files--; e.left.Files < 0 {
		return modelmanager.Errorf(modelmanager.CodeTooLarge, "the archive has too many files")
	}
	if err := e.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return fmt.Errorf("unpacking %s: %w", name, err)
	}
	switch header.Typeflag {
	case tar.TypeDir:
		if err := e.root.MkdirAll(name, 0o755); err != nil {
			return fmt.Errorf("unpacking %s: %w", name, err)
		}
		return nil
	case tar.TypeSymlink:
		if err := checkLink(name, header.Linkname); err != nil {
			return err
		}
		e.links = append(e.links, name)
		if err := e.root.Symlink(header.Linkname, name); err != nil {
			return fmt.Errorf("unpacking %s: %w", name, err)
		}
		return nil
	case tar.TypeReg:
		return e.file(name, header, content)
	default:
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "the archive's %s is neither a file nor a folder nor a link", name)
	}
}

func (e *extractor) file(name string, header *tar.Header, content io.Reader) error {
	if e.left.Bytes -= header.Size; e.left.Bytes < 0 {
		return modelmanager.Errorf(modelmanager.CodeTooLarge, "the archive's files are too large")
	}
	mode := fs.FileMode(0o444)
	if header.Mode&0o111 != 0 {
		mode = 0o555
	}
	// An entry that comes twice fails here.
	file, err := e.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("unpacking %s: %w", name, err)
	}
	_, err = io.Copy(file, content)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("unpacking %s: %w", name, err)
	}
	return nil
}

// decompress finds out how an archive is compressed.
func decompress(source io.Reader) (io.Reader, func(), error) {
	buffered := bufio.NewReader(source)
	magic, _ := buffered.Peek(4) // a shorter one is no archive; the tar reader says so
	switch {
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		r, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, nil, fmt.Errorf("reading an archive: %w", err)
		}
		return r, r.Close, nil
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		r, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "reading an archive: it is damaged: %w", err)
		}
		return r, func() { _ = r.Close() }, nil
	default:
		return buffered, func() {}, nil
	}
}

// seal makes folders read-only, from the inside out.
func seal(dir string) error {
	var folders []string
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && name != dir {
			folders = append(folders, name)
		}
		return err
	})
	for i := len(folders) - 1; err == nil && i >= 0; i-- {
		err = os.Chmod(folders[i], 0o555)
	}
	if err != nil {
		return fmt.Errorf("unpacking an archive: %w", err)
	}
	return nil
}

// Remove removes what Extract has unpacked.
func Remove(dir string) error {
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			return os.Chmod(name, 0o700)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing %s: %w", dir, err)
	}
	return os.RemoveAll(dir)
}
