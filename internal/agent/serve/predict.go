package serve

import (
	"context"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"modelmanager.dev"
)

// maxListed bounds the rows that an error names.
const maxListed = 1000

// outcome is what became of some rows: their predictions, and the rows that
// have none, counted among those asked.
type outcome struct {
	record arrow.RecordBatch
	errors []modelmanager.RowError
	// Of an answer that was refused, too: rows that the model predicted, and
	// those of them whose predictions are invalid.
	predicted, invalid int
}

// predict asks for rows, and checks the answer. Unless partial, one row
// without a prediction fails all of them.
func (h *Handler) predict(ctx context.Context, rows arrow.RecordBatch, partial bool) (outcome, error) {
	n := int(rows.NumRows())
	if n == 0 {
		return outcome{record: empty(h.Predictions.Arrow())}, nil
	}
	answer, err := h.Queue.Predict(ctx, rows)
	if modelmanager.CodeOf(err) == modelmanager.CodeInvalidPredictions {
		return outcome{predicted: n, invalid: n}, err
	}
	if err != nil {
		return outcome{}, err
	}
	record, invalid, err := h.Predictions.CheckPredictions(answer.Record, n)
	if err != nil {
		h.invalid(err)
		return outcome{predicted: n, invalid: n}, err
	}
	refused := answer.Errors
	invalid = slices.DeleteFunc(invalid, func(e modelmanager.RowError) bool { return names(refused, e.Row) })
	if len(invalid) > 0 {
		h.invalid(rowsError(modelmanager.CodeInvalidPredictions, "the model's predictions are invalid for", invalid, n))
	}
	o := outcome{predicted: n, invalid: rowsOf(invalid)}
	if !partial && len(refused) > 0 {
		return o, rowsError(modelmanager.CodeInvalidRows, "the model refused", refused, n)
	}
	if !partial && len(invalid) > 0 {
		return o, rowsError(modelmanager.CodeInvalidPredictions, "the model's predictions are invalid for", invalid, n)
	}
	o.record, o.errors = record, slices.Concat(refused, invalid)
	return o, nil
}

// rowsOf counts the rows that errors name, those of a row one after the other.
func rowsOf(errors []modelmanager.RowError) int {
	count, last := 0, int64(-1)
	for _, row := range errors {
		if row.Row != last {
			count, last = count+1, row.Row
		}
	}
	return count
}

func (h *Handler) invalid(err error) {
	if h.Invalid != nil {
		h.Invalid(err)
	}
}

func names(errors []modelmanager.RowError, row int64) bool {
	return slices.ContainsFunc(errors, func(e modelmanager.RowError) bool { return e.Row == row })
}

func rowsError(code modelmanager.Code, what string, rows []modelmanager.RowError, n int) error {
	first := rows[0]
	message := first.Message
	if first.Feature != "" {
		message = first.Feature + ": " + message
	}
	return &modelmanager.Error{
		Code:   code,
		Detail: fmt.Sprintf("%s %d of %d rows; row %d: %s", what, rowsOf(rows), n, first.Row, message),
		Rows:   rows[:min(len(rows), maxListed)],
	}
}

func empty(schema *arrow.Schema) arrow.RecordBatch {
	columns := make([]arrow.Array, schema.NumFields())
	for i := range columns {
		columns[i] = array.MakeArrayOfNull(memory.DefaultAllocator, schema.Field(i).Type, 0)
	}
	return array.NewRecordBatch(schema, columns, 0)
}
