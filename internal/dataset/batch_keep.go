package dataset

import (
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Keep drops the rows whose number wanted refuses: they are neither predicted
// nor rejected, and a Writer leaves them out. The others keep their numbers.
func (b *Batch) Keep(wanted func(row int64) bool) {
	b.dropped = make([]bool, b.Rows)
	for row := range b.dropped {
		b.dropped[row] = !wanted(b.FirstRow + int64(row))
	}
	b.Rejected = slices.DeleteFunc(b.Rejected, func(r Rejected) bool { return b.dropped[r.Row-b.FirstRow] })
	accepted := make([]int32, 0, b.Record.NumRows())
	var runs []arrow.RecordBatch
	from := int64(-1) // of the run of kept rows under way
	for i := range b.Record.NumRows() + 1 {
		keep := i < b.Record.NumRows() && !b.dropped[b.Index(int(i))]
		switch {
		case keep && from < 0:
			from = i
		case !keep && from >= 0:
			runs = append(runs, b.Record.NewSlice(from, i))
			from = -1
		}
		if keep {
			accepted = append(accepted, int32(b.Index(int(i))))
		}
	}
	b.Record, b.Accepted = joinRuns(b.Record, runs), accepted
}

// joinRuns puts slices of one record into one record.
func joinRuns(whole arrow.RecordBatch, runs []arrow.RecordBatch) arrow.RecordBatch {
	if len(runs) == 0 {
		return whole.NewSlice(0, 0)
	}
	if len(runs) == 1 {
		return runs[0]
	}
	columns := make([]arrow.Array, whole.NumCols())
	rows := int64(0)
	for _, run := range runs {
		rows += run.NumRows()
	}
	for i := range columns {
		parts := make([]arrow.Array, len(runs))
		for j, run := range runs {
			parts[j] = run.Column(i)
		}
		column, err := array.Concatenate(parts, memory.DefaultAllocator)
		if err != nil {
			panic(err) // slices of one column are of one type
		}
		columns[i] = column
	}
	return array.NewRecordBatch(whole.Schema(), columns, rows)
}
