package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// rounding is how far two predictions of the same row may be apart, relative to
// their size: matrix products of another shape add up in another order.
const rounding = 1e-6

// differs says how a prediction differs from what an example expects; "" if it
// doesn't. Predictions that the example doesn't name may be anything.
func differs(fields []modelmanager.Field, example spec.Example, prediction json.RawMessage) string {
	var got map[string]json.RawMessage
	if err := json.Unmarshal(prediction, &got); err != nil {
		return "the prediction is unreadable: " + err.Error()
	}
	for _, field := range fields {
		want, named := example.Predictions[field.Name]
		if named && !near(want, got[field.Name], max(example.Tolerance, 0)) {
			return fmt.Sprintf("%s is %s, and should be %s%s", field.Name, got[field.Name], want, toleranceText(example.Tolerance))
		}
	}
	return ""
}

func toleranceText(tolerance float64) string {
	if tolerance == 0 {
		return ""
	}
	return fmt.Sprintf(" ± %g", tolerance)
}

// near compares two JSON values, numbers up to a tolerance and rounding.
func near(a, b json.RawMessage, tolerance float64) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return bytes.Equal(a, b)
	}
	return nearValue(x, y, tolerance)
}

func nearValue(x, y any, tolerance float64) bool {
	switch x := x.(type) {
	case float64:
		y, ok := y.(float64)
		return ok && math.Abs(x-y) <= tolerance+rounding*max(math.Abs(x), math.Abs(y), 1e-9)
	case []any:
		y, ok := y.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !nearValue(x[i], y[i], tolerance) {
				return false
			}
		}
		return true
	case map[string]any:
		y, ok := y.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for name := range x {
			if !nearValue(x[name], y[name], tolerance) {
				return false
			}
		}
		return true
	}
	return x == y
}

func sameOutcome(a, b outcome) bool {
	if a.problem != "" || b.problem != "" {
		return (a.problem != "") == (b.problem != "")
	}
	return near(a.prediction, b.prediction, 0)
}

// reverse returns the rows in reverse order.
func reverse(rows arrow.RecordBatch) (arrow.RecordBatch, error) {
	n := int(rows.NumRows())
	columns := make([]arrow.Array, rows.NumCols())
	defer func() {
		for _, column := range columns {
			if column != nil {
				column.Release()
			}
		}
	}()
	for i, column := range rows.Columns() {
		single := make([]arrow.Array, n)
		for j := range n {
			single[j] = array.NewSlice(column, int64(n-1-j), int64(n-j))
		}
		joined, err := array.Concatenate(single, memory.DefaultAllocator)
		for _, piece := range single {
			piece.Release()
		}
		if err != nil {
			return nil, fmt.Errorf("reversing the examples: %w", err)
		}
		columns[i] = joined
	}
	return array.NewRecordBatch(rows.Schema(), columns, int64(n)), nil
}
