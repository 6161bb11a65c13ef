package dataset

import (
	"context"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/transform"

	modelmanager "modelmanager.dev"
)

// Formats and compressions of a file, as JobInput names them.
const (
	formatCSV     = "csv"
	formatJSONL   = "jsonl"
	formatParquet = "parquet"
	formatXLSX    = "xlsx"

	compressionNone = "none"
	compressionGzip = "gzip"
	compressionZstd = "zstd"

	encodingUTF8 = "utf-8"
)

// bom is the byte order mark as UTF-8.
const bom = "\uFEFF"

// maxZstdWindow bounds what a hostile zstd frame makes us allocate.
const maxZstdWindow = 128 << 20

// textEncoding is how a text's characters are bytes.
type textEncoding struct {
	name  string
	codec encoding.Encoding          // nil: UTF-8
	width func(decoded []byte) int64 // bytes of the encoded form; nil: not to be told
}

// lookupEncoding finds an encoding by any name the web knows it by.
func lookupEncoding(name string) (textEncoding, error) {
	codec, err := htmlindex.Get(strings.TrimSpace(name))
	if err != nil {
		return textEncoding{}, modelmanager.Errorf(modelmanager.CodeInvalidInput,
			"input.encoding: there is no encoding %q; utf-8, utf-16le, utf-16be, windows-1252 and iso-8859-15 are some that there are", name)
	}
	canonical, err := htmlindex.Name(codec)
	if err != nil || canonical == "replacement" || canonical == "x-user-defined" {
		return textEncoding{}, modelmanager.Errorf(modelmanager.CodeInvalidInput,
			"input.encoding: %q can't be read; save the file as utf-8", name)
	}
	e := textEncoding{name: canonical, codec: codec}
	_, single := codec.(*charmap.Charmap)
	switch {
	case canonical == encodingUTF8:
		e.codec = nil
		e.width = func(decoded []byte) int64 { return int64(len(decoded)) }
	case single:
		e.width = func(decoded []byte) int64 { return int64(utf8.RuneCount(decoded)) }
	case canonical == "utf-16le", canonical == "utf-16be":
		e.width = utf16Width
	}
	return e, nil
}

// utf16Width counts the bytes that a text takes as UTF-16.
func utf16Width(decoded []byte) int64 {
	var units int64
	for _, b := range decoded {
		switch {
		case b < 0x80, b >= 0xC0 && b < 0xF0:
			units++
		case b >= 0xF0:
			units += 2 // a surrogate pair
		}
	}
	return 2 * units
}

// openText opens a range of a text file as UTF-8, decompressed. A compressed
// file has no ranges but the whole.
func openText(ctx context.Context, src Source, input modelmanager.JobInput, offset, length int64) (io.ReadCloser, error) {
	encoding, err := lookupEncoding(defaultTo(input.Encoding, encodingUTF8))
	if err != nil {
		return nil, err
	}
	plain, err := openPlain(ctx, src, input.Compression, offset, length)
	if err != nil {
		return nil, err
	}
	if encoding.codec == nil {
		return plain, nil
	}
	return &textReader{Reader: transform.NewReader(plain, encoding.codec.NewDecoder()), closer: plain}, nil
}

// openPlain opens a range of a file, decompressed.
func openPlain(ctx context.Context, src Source, compression string, offset, length int64) (io.ReadCloser, error) {
	raw, err := src.ReadAt(ctx, offset, length)
	if err != nil {
		return nil, err
	}
	r := &textReader{closer: raw, compression: compression, ctx: ctx}
	switch compression {
	case "", compressionNone:
		r.Reader, r.compression = raw, ""
	case compressionGzip:
		zr, err := gzip.NewReader(raw)
		if err != nil {
			raw.Close()
			return nil, r.explain(err)
		}
		r.Reader = zr
	case compressionZstd:
		zr, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			raw.Close()
			return nil, r.explain(err)
		}
		r.Reader, r.release = zr, zr.Close
	default:
		raw.Close()
		return nil, modelmanager.Errorf(modelmanager.CodeInvalidInput,
			"input.compression: %q is none of none, gzip, zstd", compression)
	}
	return r, nil
}

// textReader closes what lies beneath it, and explains errors of decompression.
type textReader struct {
	io.Reader
	ctx         context.Context
	closer      io.Closer
	release     func()
	compression string
}

// Read reads decompressed bytes.
func (r *textReader) Read(p []byte) (int, error) {
	if r.ctx != nil {
		if err := r.ctx.Err(); err != nil {
			return 0, err
		}
	}
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF && r.compression != "" {
		err = r.explain(err)
	}
	return n, err
}

// explain turns a decompressor's complaint into one about the file; errors of
// the source itself pass.
func (r *textReader) explain(err error) error {
	var known *modelmanager.Error
	if errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF {
		return modelmanager.Errorf(modelmanager.CodeInvalidInput,
			"decompressing the %s input: it ends too early; it was cut off, upload it again", r.compression)
	}
	return modelmanager.Errorf(modelmanager.CodeInvalidInput,
		"decompressing the %s input: %w; compress the file again, or set input.compression", r.compression, err)
}

// Close closes the file.
func (r *textReader) Close() error {
	if r.release != nil {
		r.release()
	}
	return r.closer.Close()
}

// defaultTo returns s, or otherwise if it is empty.
func defaultTo(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
