package dataset

import (
	"context"
	"io"
)

// Sizes of the ranges that a headSource asks for, one after the other.
const (
	headFirst = 64 << 10
	headMost  = 4 << 20
)

// headSource is a source of which only the beginning will be read, nobody
// knows how much of it: it asks for small ranges first, so that an object far
// away isn't sent as a whole only to be thrown away.
type headSource struct{ Source }

func headOf(src Source) Source {
	if _, ok := src.(randomSource); ok {
		return src
	}
	return headSource{src}
}

// ReadAt opens a range; nothing is asked for before the first Read.
func (s headSource) ReadAt(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
	offset, length = clip(s.Size(), offset, length)
	return &headReader{ctx: ctx, src: s.Source, offset: offset, end: offset + length, size: headFirst}, nil
}

type headReader struct {
	ctx               context.Context
	src               Source
	offset, end, size int64
	left              int64 // of the range under way
	current           io.ReadCloser
}

// Read reads on, over one range after the other.
func (r *headReader) Read(p []byte) (int, error) {
	for {
		if r.current == nil {
			if r.offset >= r.end {
				return 0, io.EOF
			}
			var err error
			r.left = min(r.size, r.end-r.offset)
			if r.current, err = r.src.ReadAt(r.ctx, r.offset, r.left); err != nil {
				r.current = nil
				return 0, err
			}
			r.offset += r.left
			r.size = min(2*r.size, headMost)
		}
		n, err := r.current.Read(p)
		r.left -= int64(n)
		if err == io.EOF && r.left > 0 {
			return n, io.ErrUnexpectedEOF
		}
		if err == io.EOF {
			r.current.Close()
			r.current, err = nil, nil
			if n == 0 {
				continue
			}
		}
		return n, err
	}
}

// Close ends the range under way.
func (r *headReader) Close() error {
	if r.current == nil {
		return nil
	}
	return r.current.Close()
}
