package pipeline

import (
	"context"
	"encoding/json"
	"maps"
	"math"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/spec"
)

// row is a row's features as an example has them.
type row = map[string]json.RawMessage

// oneKind tells whether all examples ask for the same row: then they can't tell
// whether a row's predictions depend on those beside it.
func oneKind(examples []spec.Example) bool {
	for _, example := range examples[1:] {
		if !maps.EqualFunc(example.Features, examples[0].Features, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
			return false
		}
	}
	return true
}

// variedWithin is how long a model may take over rows that nobody has promised
// that it answers.
const variedWithin = 10 * time.Second

// amongVariations checks that the first example's predictions don't change with
// variations of it beside it, where no other example tells. A model may fail on
// those. It is the last that the worker is asked, which may still be busy with it
// afterwards.
func (r *examplesRun) amongVariations(ctx context.Context, first outcome) error {
	if r.spec.SeesAllRows() || !oneKind(r.spec.Examples) {
		return nil
	}
	others := vary(r.features, r.spec.Examples[0].Features)
	if len(others) == 0 {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, variedWithin)
	defer cancel()
	err := r.amongOthers(limited, first, others)
	if err != nil && ctx.Err() == nil && (limited.Err() != nil || worker.AtFault(err)) && modelmanager.CodeOf(err) != modelmanager.CodeRowDependent {
		return nil
	}
	return err
}

// amongOthers checks that the first example's predictions don't change with
// itself and others beside it.
func (r *examplesRun) amongOthers(ctx context.Context, first outcome, others []row) error {
	example := r.spec.Examples[0].Features
	rows := []row{example, example}
	for i, other := range others {
		if i%2 == 0 {
			rows = append([]row{other}, rows...)
		} else {
			rows = append(rows, other)
		}
	}
	outcomes, err := r.askFor(ctx, rows)
	if err != nil {
		return err
	}
	at := (len(others) + 1) / 2 // the example's place, and the next
	for _, got := range outcomes[at : at+2] {
		if !sameOutcome(got, first) {
			return r.dependent(0, "beside rows like it", got, "alone", first)
		}
	}
	return nil
}

// askFor asks for rows that fit the features.
func (r *examplesRun) askFor(ctx context.Context, rows []row) ([]outcome, error) {
	record, _, err := decodeRows(r.features, rows)
	if err != nil {
		return nil, err
	}
	defer record.Release()
	return r.ask(ctx, record)
}

// decodeRows returns those of rows that fit, and which don't.
func decodeRows(features *dataset.Schema, rows []row) (arrow.RecordBatch, map[int64]bool, error) {
	body, err := json.Marshal(map[string]any{"rows": rows})
	if err != nil {
		return nil, nil, err
	}
	request, err := features.DecodeRequest(body, len(rows))
	if err != nil {
		return nil, nil, err
	}
	rejected := make(map[int64]bool)
	for _, e := range request.Rejected {
		rejected[e.Row] = true
	}
	return request.Record, rejected, nil
}

// vary returns rows like one that fit the features, in which every feature that
// can have another value has one. None, if nothing can be varied.
func vary(features *dataset.Schema, example row) []row {
	var tries []row
	var names []string
	for _, field := range features.Fields() {
		for _, value := range otherValues(field, example[field.Name]) {
			try := maps.Clone(example)
			try[field.Name] = value
			tries, names = append(tries, try), append(names, field.Name)
		}
	}
	if len(tries) == 0 {
		return nil
	}
	record, rejected, err := decodeRows(features, tries)
	if err != nil {
		return nil
	}
	record.Release()
	first, last := maps.Clone(example), maps.Clone(example)
	changed := map[string]bool{}
	for i, try := range tries {
		name := names[i]
		if rejected[int64(i)] {
			continue
		}
		if !changed[name] {
			first[name] = try[name]
		}
		last[name], changed[name] = try[name], true
	}
	if len(changed) == 0 {
		return nil
	}
	return []row{first, last, first, first} // so that their mean and median aren't the example's
}

// otherValues returns values that a field may have instead of one, which may
// break its rules; none where no other value makes sense.
func otherValues(field modelmanager.Field, value json.RawMessage) []json.RawMessage {
	var values []json.RawMessage
	add := func(v any) {
		if text, err := json.Marshal(v); err == nil && string(text) != string(value) {
			values = append(values, text)
		}
	}
	if len(value) == 0 || string(value) == "null" {
		return nil
	}
	if len(field.Enum) > 0 {
		for _, level := range field.Enum {
			add(level)
		}
		return values
	}
	switch field.Type {
	case modelmanager.Boolean:
		add(string(value) != "true")
	case modelmanager.Integer:
		if n, err := strconv.ParseInt(string(value), 10, 64); err == nil && n > math.MinInt64+2 && n < math.MaxInt64-2 {
			for _, other := range []int64{n + 1, n - 1} {
				add(other)
			}
		}
	case modelmanager.Number:
		if x, err := strconv.ParseFloat(string(value), 64); err == nil {
			for _, other := range []float64{1.25*x + 1, 1.1 * x, x + 0.01, x - 0.01, 0.9 * x, 0.75*x - 1} {
				add(other)
			}
		}
	}
	return values
}
