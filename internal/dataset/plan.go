package dataset

import (
	"context"
	"io"

	modelmanager "modelmanager.dev"
)

// maxShards bounds a plan; see docs/jobs.md.
const maxShards = 100_000

// Slice is a shard's part of a file: whole rows, in the file's order.
type Slice struct {
	Index    int   `json:"index"`
	Offset   int64 `json:"offset"` // bytes, of uncompressed CSV and JSON Lines
	Length   int64 `json:"length"`
	FirstRow int64 `json:"first_row"` // 1 is the first data row of the file
	Rows     int64 `json:"rows"`      // 0: not counted, all there are

	Pages []PageStart `json:"pages,omitempty"` // of Parquet, where its columns begin, if it was worth finding
}

// Whole is the slice that is the whole file, for reading without a plan.
func Whole() Slice { return Slice{Length: -1, FirstRow: 1} }

// NeedsSplit tells whether a sniffed file can't be read from the middle, so
// that Split has to rewrite it before several shards can read it.
func NeedsSplit(input modelmanager.JobInput) bool {
	if input.Compression != "" && input.Compression != compressionNone {
		return true
	}
	if input.Format != formatCSV && input.Format != formatJSONL {
		return false
	}
	encoding, err := lookupEncoding(defaultTo(input.Encoding, encodingUTF8))
	return err == nil && encoding.width == nil
}

// Plan cuts a sniffed file into slices of rowsPerShard rows, the last one maybe
// shorter; rowsPerShard 0 makes one slice. A text is scanned once, in little
// memory, whatever its size; a quoted line break is never cut. A file without
// rows has no slices. What the scan can't read is an error here, before any
// shard runs. A file that NeedsSplit gets one slice.
func Plan(ctx context.Context, src Source, input modelmanager.JobInput, rowsPerShard int64) ([]Slice, error) {
	if rowsPerShard < 0 {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "rows_per_shard is %d; it is at least 1", rowsPerShard)
	}
	switch input.Format {
	case formatCSV, formatJSONL:
		return planText(ctx, src, input, rowsPerShard)
	case formatParquet:
		return planParquet(ctx, src, rowsPerShard)
	case formatXLSX:
		rows, err := xlsxRows(ctx, src, input)
		if err != nil {
			return nil, err
		}
		return planRows(rows, rowsPerShard)
	default:
		return nil, unknownFormat("input.format", input.Format)
	}
}

func unknownFormat(what, format string) error {
	return modelmanager.Errorf(modelmanager.CodeInvalidInput, "%s: %q is none of csv, jsonl, parquet, xlsx", what, format)
}

// planRows cuts rows that can be counted beforehand.
func planRows(rows, rowsPerShard int64) ([]Slice, error) {
	if rowsPerShard == 0 {
		rowsPerShard = max(rows, 1)
	}
	var slices []Slice
	for first := int64(0); first < rows; first += rowsPerShard {
		if len(slices) == maxShards {
			return nil, tooManyShards()
		}
		slices = append(slices, Slice{Index: len(slices), FirstRow: first + 1, Rows: min(rowsPerShard, rows-first)})
	}
	return slices, nil
}

func tooManyShards() error {
	return modelmanager.Errorf(modelmanager.CodeTooLarge,
		"the input makes more than %d shards; set a larger batch.rows_per_shard", maxShards)
}

// planText cuts a text in one pass over its records.
func planText(ctx context.Context, src Source, input modelmanager.JobInput, rowsPerShard int64) ([]Slice, error) {
	if NeedsSplit(input) {
		rowsPerShard = 0
	}
	scanner, closer, marked, err := openScanner(ctx, src, input, 0, -1)
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	if input.Format == formatCSV {
		if _, err := csvHeader(scanner, input, marked); err != nil {
			return nil, err
		}
	}
	var slices []Slice
	current := Slice{Offset: scanner.offset, FirstRow: 1}
	cut := func() {
		current.Length = scanner.offset - current.Offset
		slices = append(slices, current)
		current = Slice{Index: len(slices), Offset: scanner.offset, FirstRow: current.FirstRow + current.Rows}
	}
	for {
		_, err := scanner.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		current.Rows++
		if current.Rows == rowsPerShard {
			if len(slices) == maxShards-1 {
				return nil, tooManyShards()
			}
			cut()
		}
	}
	if current.Rows > 0 {
		cut()
	}
	if NeedsSplit(input) && len(slices) == 1 {
		slices[0].Offset, slices[0].Length = 0, -1
	}
	return slices, nil
}
