package dataset

import (
	"bytes"
	"context"
	"io"

	modelmanager "modelmanager.dev"
)

// Split rewrites a text that NeedsSplit into uncompressed UTF-8 pieces of
// rowsPerShard rows, each a file by itself, CSV with its header. create opens
// the piece of an index; Split closes it. Read piece i with its slice and with
// PieceInput.
func Split(ctx context.Context, src Source, input modelmanager.JobInput, rowsPerShard int64, create func(index int) (io.WriteCloser, error)) ([]Slice, error) {
	if input.Format != formatCSV && input.Format != formatJSONL {
		return nil, unknownFormat("splitting the input: input.format", input.Format)
	}
	scanner, closer, marked, err := openScanner(ctx, src, input, 0, -1)
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	s := &splitter{create: create, rows: rowsPerShard, newline: "\n"}
	if marked {
		s.head = append(s.head, bom...)
	}
	if input.Format == formatCSV {
		header, err := csvHeader(scanner, input, marked)
		if err != nil {
			return nil, err
		}
		s.newline = header.newline
		s.head = append(append(s.head, header.raw...), s.newline...)
	}
	for {
		raw, err := scanner.next()
		if err == io.EOF {
			return s.slices, s.finish()
		}
		if err == nil {
			err = s.add(raw)
		}
		if err != nil {
			s.abandon()
			return nil, err
		}
	}
}

// PieceInput says how the pieces of Split are read.
func PieceInput(input modelmanager.JobInput) modelmanager.JobInput {
	input.Compression, input.Encoding = compressionNone, encodingUTF8
	if input.Format == formatCSV {
		input.HeaderRow = 1
	}
	return input
}

type splitter struct {
	create  func(index int) (io.WriteCloser, error)
	rows    int64
	head    []byte
	newline string
	slices  []Slice
	piece   io.WriteCloser
	buf     bytes.Buffer
}

func (s *splitter) add(raw []byte) error {
	if s.piece == nil || s.rows > 0 && s.slices[len(s.slices)-1].Rows == s.rows {
		if err := s.begin(); err != nil {
			return err
		}
	}
	s.buf.Write(raw)
	s.buf.WriteString(s.newline)
	s.slices[len(s.slices)-1].Rows++
	if s.buf.Len() < scanBuffer {
		return nil
	}
	return s.flush()
}

func (s *splitter) begin() error {
	if err := s.finish(); err != nil {
		return err
	}
	if len(s.slices) == maxShards {
		return tooManyShards()
	}
	next := Slice{Index: len(s.slices), Length: -1, FirstRow: 1}
	if len(s.slices) > 0 {
		last := s.slices[len(s.slices)-1]
		next.FirstRow = last.FirstRow + last.Rows
	}
	var err error
	if s.piece, err = s.create(next.Index); err != nil {
		return err
	}
	s.slices = append(s.slices, next)
	s.buf.Write(s.head)
	return nil
}

func (s *splitter) flush() error {
	_, err := s.buf.WriteTo(s.piece)
	return err
}

func (s *splitter) finish() error {
	if s.piece == nil {
		return nil
	}
	if err := s.flush(); err != nil {
		s.abandon()
		return err
	}
	piece := s.piece
	s.piece = nil
	return piece.Close()
}

// abandon gives up the piece under way. A piece that can be dropped is: one
// that appears when it is closed must not appear half.
func (s *splitter) abandon() {
	switch piece := s.piece.(type) {
	case nil:
	case interface{ Abort() error }:
		_ = piece.Abort()
	case interface{ Abort() }:
		piece.Abort()
	default:
		_ = piece.Close()
	}
	s.piece = nil
}
