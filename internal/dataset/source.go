package dataset

import (
	"bytes"
	"context"
	"io"
	"os"

	modelmanager "modelmanager.dev"
)

// Source is a file's bytes, wherever they are, read by ranges. A Source may be
// read by several goroutines at once. What is behind it must not change while
// it is read; a Source that can tell answers CodeInputChanged.
type Source interface {
	// Size returns the length in bytes.
	Size() int64
	// ReadAt opens the bytes from offset on; a length of −1 means to the end.
	// A range that reaches past the end is cut there. The caller closes it.
	ReadAt(ctx context.Context, offset, length int64) (io.ReadCloser, error)
}

// randomSource is a Source whose bytes are at hand, so that small reads
// everywhere in it cost nothing.
type randomSource interface {
	Source
	readerAt() io.ReaderAt
}

// FileSource is a file of this machine.
type FileSource struct {
	file *os.File
	size int64
}

// NewFileSource opens a file; Close closes it.
func NewFileSource(path string) (*FileSource, error) {
	file, err := os.Open(path)
	if err != nil {
		if os.IsNotExist(err) {
			return nil, modelmanager.Errorf(modelmanager.CodeNotFound, "there is no file %s", path)
		}
		return nil, modelmanager.Errorf(modelmanager.CodeStorage, "opening %s: %w", path, err)
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = modelmanager.Errorf(modelmanager.CodeInvalidInput, "%s is a folder; name a file in it", path)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return &FileSource{file: file, size: info.Size()}, nil
}

// Size returns the file's length when it was opened.
func (s *FileSource) Size() int64 { return s.size }

// ReadAt opens a range of the file.
func (s *FileSource) ReadAt(_ context.Context, offset, length int64) (io.ReadCloser, error) {
	return io.NopCloser(section(s.file, s.size, offset, length)), nil
}

// Close closes the file. What ReadAt returned can't be read afterwards.
func (s *FileSource) Close() error { return s.file.Close() }

func (s *FileSource) readerAt() io.ReaderAt { return s.file }

// BytesSource is a file in memory.
type BytesSource struct{ reader *bytes.Reader }

// NewBytesSource makes a Source of data, which must not change.
func NewBytesSource(data []byte) *BytesSource {
	return &BytesSource{reader: bytes.NewReader(data)}
}

// Size returns the number of bytes.
func (s *BytesSource) Size() int64 { return s.reader.Size() }

// ReadAt opens a range of the bytes.
func (s *BytesSource) ReadAt(_ context.Context, offset, length int64) (io.ReadCloser, error) {
	return io.NopCloser(section(s.reader, s.reader.Size(), offset, length)), nil
}

func (s *BytesSource) readerAt() io.ReaderAt { return s.reader }

// RangeFunc opens a range of something; see Source.ReadAt.
type RangeFunc func(ctx context.Context, offset, length int64) (io.ReadCloser, error)

// NewRangeSource makes a Source of a function that opens ranges, an object of a
// bucket for instance.
func NewRangeSource(size int64, open RangeFunc) Source {
	return &rangeSource{size: size, open: open}
}

type rangeSource struct {
	size int64
	open RangeFunc
}

func (s *rangeSource) Size() int64 { return s.size }

func (s *rangeSource) ReadAt(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
	offset, length = clip(s.size, offset, length)
	if length == 0 {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	r, err := s.open(ctx, offset, length)
	if err != nil {
		return nil, err
	}
	return &wholeRange{ReadCloser: r, left: length}, nil
}

// wholeRange makes a range that ends too early an error: rows would be lost.
type wholeRange struct {
	io.ReadCloser
	left int64
}

func (r *wholeRange) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if r.left -= int64(n); err == io.EOF && r.left > 0 {
		err = modelmanager.Errorf(modelmanager.CodeStorage, "reading the input: it ends %d bytes too early; try again", r.left)
	}
	return n, err
}

// section reads a range of r, cut at its size.
func section(r io.ReaderAt, size, offset, length int64) io.Reader {
	offset, length = clip(size, offset, length)
	return io.NewSectionReader(r, offset, length)
}

// clip cuts a range at the size, and resolves the length −1.
func clip(size, offset, length int64) (int64, int64) {
	offset = min(max(offset, 0), size)
	if length < 0 || length > size-offset {
		length = size - offset
	}
	return offset, length
}
