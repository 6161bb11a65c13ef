package dataset

import (
	"context"
	"fmt"
	"io"
	"iter"
	"math"

	"github.com/apache/arrow-go/v18/parquet/metadata"

	modelmanager "modelmanager.dev"
)

// A Parquet file is this mark, the row groups, the footer, the footer's length
// in four bytes, and the mark again.
const (
	parquetMark = "PAR1"
	parquetTail = 4 + len(parquetMark)
)

// concatenateParquet puts the row groups of parts one after the other as they
// are, and writes one footer with their new places. All parts have the schema
// of the first.
func concatenateParquet(ctx context.Context, w io.Writer, parts iter.Seq2[Source, error]) (err error) {
	defer guardParquet(&err)
	var footer *metadata.FileMetaData
	written := int64(0)
	err = eachPart(parts, func(part Source) error {
		file, err := openParquetFile(ctx, part)
		if err != nil {
			return err
		}
		defer file.reader.Close()
		added := file.reader.MetaData()
		if footer == nil {
			if _, err := io.WriteString(w, parquetMark); err != nil {
				return err
			}
			written = int64(len(parquetMark))
		} else if !footer.Schema.Equals(added.Schema) {
			return modelmanager.Errorf(modelmanager.CodeInternal, "joining Parquet parts: their columns differ")
		}
		start := int64(len(parquetMark))
		length := part.Size() - int64(parquetTail) - int64(added.Size()) - start
		moveRowGroups(added, written-start)
		n, err := copyPart(ctx, w, part, start, length)
		if err != nil {
			return err
		}
		written += n
		if footer == nil {
			footer = added
			return nil
		}
		return footer.AppendRowGroups(added)
	})
	if err != nil || footer == nil {
		return err
	}
	for i, group := range footer.RowGroups {
		if group.Ordinal = nil; i <= math.MaxInt16 { // it has no room for more
			ordinal := int16(i)
			group.Ordinal = &ordinal
		}
	}
	n, err := footer.WriteTo(w, nil)
	if err != nil {
		return err
	}
	_, err = w.Write([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24), 'P', 'A', 'R', '1'})
	return err
}

func copyPart(ctx context.Context, w io.Writer, part Source, offset, length int64) (int64, error) {
	r, err := part.ReadAt(ctx, offset, length)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	n, err := io.Copy(w, r)
	if err == nil && n != length {
		err = fmt.Errorf("joining Parquet parts: one ends after %d bytes of %d: %w", n, length, io.ErrUnexpectedEOF)
	}
	return n, err
}

// moveRowGroups moves the places of all that a footer names.
func moveRowGroups(footer *metadata.FileMetaData, by int64) {
	move := func(offset *int64) {
		if offset != nil {
			*offset += by
		}
	}
	for _, group := range footer.RowGroups {
		move(group.FileOffset)
		for _, column := range group.Columns {
			if column.FileOffset > 0 { // newer writers leave it out
				column.FileOffset += by
			}
			move(column.OffsetIndexOffset)
			move(column.ColumnIndexOffset)
			if chunk := column.MetaData; chunk != nil {
				chunk.DataPageOffset += by
				move(chunk.IndexPageOffset)
				move(chunk.DictionaryPageOffset)
				move(chunk.BloomFilterOffset)
			}
		}
	}
}
