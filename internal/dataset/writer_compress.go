package dataset

import (
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	modelmanager "modelmanager.dev"
)

// checkCompression checks that a file of a format can be compressed as a whole.
func checkCompression(format, compression string) error {
	switch compression {
	case "", compressionNone:
		return nil
	case compressionGzip, compressionZstd:
	default:
		return modelmanager.Errorf(modelmanager.CodeInvalidInput, "output.compression: %q is none of none, gzip, zstd", compression)
	}
	if format == formatParquet || format == formatXLSX {
		return modelmanager.Errorf(modelmanager.CodeInvalidInput,
			"output.compression: %s files are compressed inside; leave it out, or set output.format to csv or jsonl", format)
	}
	return nil
}

// members compresses what is written, as one gzip member or zstd frame after
// the other. Members in a row are one file, so that parts can be put together
// as they are, and a part's header, a member of its own, can be left out.
type members struct {
	out         io.Writer
	compression string
	open        io.WriteCloser // the member under way
	any         bool
}

// newMembers returns nil where nothing is to be compressed.
func newMembers(out io.Writer, compression string) *members {
	if compression == "" || compression == compressionNone {
		return nil
	}
	return &members{out: out, compression: compression}
}

func (m *members) begin() (err error) {
	m.any = true
	if m.compression == compressionGzip {
		m.open = gzip.NewWriter(m.out)
		return nil
	}
	m.open, err = zstd.NewWriter(m.out, zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true))
	return err
}

// Write implements io.Writer.
func (m *members) Write(p []byte) (int, error) {
	if m.open == nil {
		if err := m.begin(); err != nil {
			return 0, err
		}
	}
	return m.open.Write(p)
}

// end completes a member; what is written next begins another.
func (m *members) end() error {
	if m == nil || m.open == nil {
		return nil
	}
	err := m.open.Close()
	m.open = nil
	return err
}

// close completes the file; without a member it would be no such file.
func (m *members) close() error {
	if m == nil {
		return nil
	}
	if !m.any {
		if err := m.begin(); err != nil {
			return err
		}
	}
	return m.end()
}
