package dataset

import (
	"context"
	"errors"
	"io"
	"sync"
)

// Blocks of a remote source that sourceAt keeps, so that the many small reads
// of a zip directory or a Parquet footer cost few requests.
const (
	sourceBlock  = 1 << 20
	sourceBlocks = 8
	sourceLarge  = 64 << 10 // a read of so much goes straight to the source
)

// sourceAt gives a Source the shape that Parquet and zip readers want:
// io.ReaderAt, io.Reader and io.Seeker. Large reads go straight to the source.
type sourceAt struct {
	ctx    context.Context
	src    Source
	direct io.ReaderAt // if the bytes are at hand
	offset int64

	mu     sync.Mutex
	blocks map[int64][]byte
	order  []int64 // oldest first
}

func newSourceAt(ctx context.Context, src Source) *sourceAt {
	s := &sourceAt{ctx: ctx, src: src, blocks: map[int64][]byte{}}
	if r, ok := src.(randomSource); ok {
		s.direct = r.readerAt()
	}
	return s
}

// ReadAt reads len(p) bytes, or fewer with io.EOF.
func (s *sourceAt) ReadAt(p []byte, offset int64) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	if s.direct != nil {
		return s.direct.ReadAt(p, offset)
	}
	if offset >= s.src.Size() {
		return 0, io.EOF
	}
	if len(p) >= sourceLarge {
		return s.fetch(p, offset)
	}
	n := 0
	for n < len(p) && offset < s.src.Size() {
		block, err := s.block(offset / sourceBlock)
		if err != nil {
			return n, err
		}
		copied := copy(p[n:], block[offset%sourceBlock:])
		n += copied
		offset += int64(copied)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// exactly reads len(p) bytes that nothing near is going to be asked for.
func (s *sourceAt) exactly(p []byte, offset int64) (int, error) {
	if s.direct != nil {
		return s.direct.ReadAt(p, offset)
	}
	return s.fetch(p, offset)
}

func (s *sourceAt) fetch(p []byte, offset int64) (int, error) {
	r, err := s.src.ReadAt(s.ctx, offset, int64(len(p)))
	if err != nil {
		return 0, err
	}
	defer r.Close()
	n, err := io.ReadFull(r, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

func (s *sourceAt) block(index int64) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if block, ok := s.blocks[index]; ok {
		return block, nil
	}
	start := index * sourceBlock
	block := make([]byte, min(sourceBlock, s.src.Size()-start))
	if n, err := s.fetch(block, start); err != nil && n < len(block) {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if len(s.order) == sourceBlocks {
		delete(s.blocks, s.order[0])
		s.order = s.order[1:]
	}
	s.blocks[index] = block
	s.order = append(s.order, index)
	return block, nil
}

// Read reads on from where Seek or the last Read ended.
func (s *sourceAt) Read(p []byte) (int, error) {
	n, err := s.ReadAt(p, s.offset)
	s.offset += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// Seek moves to an offset.
func (s *sourceAt) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.offset
	case io.SeekEnd:
		offset += s.src.Size()
	}
	if offset < 0 {
		return 0, errors.New("seeking to before the start")
	}
	s.offset = offset
	return offset, nil
}
