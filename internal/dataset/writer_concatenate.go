package dataset

import (
	"context"
	"io"
	"iter"
)

// Concatenate writes the parts of an output, in their order, as one file. CSV
// and JSON Lines parts are copied, and so are the row groups of Parquet parts;
// the rows of Excel parts are written again, in little memory. A part is opened when its turn comes.
// Without parts nothing is written.
func Concatenate(ctx context.Context, w io.Writer, format string, parts iter.Seq2[Source, error]) error {
	switch format {
	case formatCSV, formatJSONL:
		return eachPart(parts, func(part Source) error {
			r, err := part.ReadAt(ctx, 0, -1)
			if err != nil {
				return err
			}
			defer r.Close()
			_, err = io.Copy(w, r)
			return err
		})
	case formatParquet:
		return concatenateParquet(ctx, w, parts)
	case formatXLSX:
		return concatenateXLSX(ctx, w, parts)
	default:
		return unknownFormat("output.format", format)
	}
}

func eachPart(parts iter.Seq2[Source, error], visit func(Source) error) error {
	for part, err := range parts {
		if err != nil {
			return err
		}
		if err := visit(part); err != nil {
			return err
		}
	}
	return nil
}

func concatenateXLSX(ctx context.Context, w io.Writer, parts iter.Seq2[Source, error]) error {
	var out *xlsxBook
	err := eachPart(parts, func(part Source) error {
		book, err := openWorkbook(ctx, part)
		if err != nil {
			return err
		}
		defer book.close()
		first := out == nil
		if first {
			if out, err = newXLSXBook(book.sheets[0].name); err != nil {
				return err
			}
		}
		rows, err := book.open(book.sheets[0])
		if err != nil {
			return err
		}
		defer rows.close()
		block := &xlsxRowsBlock{book: book}
		for header := true; ; header = false {
			cells, err := rows.next()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			if header && !first {
				continue
			}
			values := make([]any, len(cells))
			for i, cell := range cells {
				values[i] = out.asIs(block, cell)
			}
			if err := out.add(values); err != nil {
				return err
			}
		}
	})
	if err != nil || out == nil {
		return err
	}
	return out.finish(w)
}
