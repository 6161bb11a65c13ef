package dataset

import (
	"encoding/json"
	"testing"

	"modelmanager.dev"
)

// FuzzDecodeRequest checks that no body panics, and that what is accepted is
// JSON to encoding/json too, with the same number of rows, and reads back.
func FuzzDecodeRequest(f *testing.F) {
	for _, row := range []string{
		`{"radius": 1}`, `{"radius":1.5e3,"visits":5.0,"id":"-9","side":"right","smoker":true,"note":"a\u00e9\ud83d\ude00","taken_on":"2024-02-29","at":"2024-02-29T12:00:00.123Z","pair":[1,2],"codes":["x",null]}`,
		`{"radius": -1, "radius": 2, "other": {"a": [1, {"b": null}]}}`, `7`, `null`, `{}`,
	} {
		f.Add([]byte(`{"rows": [` + row + `, ` + row + `], "on_error": "partial", "ids": [1, "b"]}`))
		f.Add([]byte(`{"rows":[` + row + `]}`))
	}
	s := mustCompile(f, patientFields()...)
	f.Fuzz(func(t *testing.T, body []byte) {
		request, err := s.DecodeRequest(body, 100)
		if err != nil {
			if modelmanager.CodeOf(err) == modelmanager.CodeInternal {
				t.Fatal(err)
			}
			return
		}
		var general struct {
			Rows []json.RawMessage
			IDs  []json.RawMessage
		}
		if err := json.Unmarshal(body, &general); err != nil {
			t.Fatalf("accepted %q: %v", body, err)
		}
		if len(general.Rows) != request.Rows || len(general.IDs) != len(request.IDs) {
			t.Fatalf("%d rows, encoding/json finds %d", request.Rows, len(general.Rows))
		}
		rows := s.AppendRows([]byte(`{"rows":`), request.Record)
		again, err := s.DecodeRequest(append(rows, '}'), 100)
		if err != nil {
			// Only these nulls are allowed where a key is absent alone.
			return
		}
		if got := s.AppendRows([]byte(`{"rows":`), again.Record); string(got)+"}" != string(append(rows, '}')) {
			t.Fatalf("wrote %s, read back %s", rows, got)
		}
	})
}

// FuzzDecodeColumns checks that no answer panics.
func FuzzDecodeColumns(f *testing.F) {
	f.Add(2, []byte(`{"radius": [1, NaN], "visits": [1, 2.5], "id": ["1", null], "side": ["left", "x"], "smoker": [true, false], "note": ["a", "b"], "taken_on": ["2024-02-29", "x"], "at": [null, null], "pair": [[1,2],[3]], "codes": [["x"],[]]}`))
	f.Add(1, []byte(`{"radius": [1]}`))
	f.Add(0, []byte(`{}`))
	s := mustCompile(f, patientFields()...)
	f.Fuzz(func(t *testing.T, n int, columns []byte) {
		if n < 0 || n > 1000 {
			return
		}
		record, err := s.DecodeColumns(n, columns)
		if err == nil {
			var errs []modelmanager.RowError
			record, errs, err = s.CheckPredictions(record, n)
			if err == nil && !json.Valid(s.AppendRows(nil, record)) {
				t.Fatalf("%s: %v", s.AppendRows(nil, record), errs)
			}
		}
		if err != nil && modelmanager.CodeOf(err) != modelmanager.CodeInvalidPredictions {
			t.Fatal(err)
		}
	})
}

// FuzzSetText checks that no cell panics, and that accepted ones are written as valid JSON.
func FuzzSetText(f *testing.F) {
	for _, cell := range []string{"", " 1.5e3 ", "1,234.5", "NaN", "2024-02-29", "2024-02-29 12:00", "[1,2]", "TRUE", "-", "1e", ".", "+"} {
		f.Add([]byte(cell), false, byte('.'), "")
		f.Add([]byte(cell), true, byte(','), "DD.MM.YYYY HH:mm:ss")
	}
	s := mustCompile(f, patientFields()...)
	f.Fuzz(func(t *testing.T, cell []byte, quoted bool, decimal byte, dates string) {
		b := NewBuilder(s)
		for column := range s.Fields() {
			b.SetFloat(0, 1)
			if column > 0 {
				b.SetText(column, cell, quoted, &TextRules{Decimal: decimal, Dates: dates})
			}
			b.EndRow(RefuseAbsent)
		}
		record := b.Record()
		if text := s.AppendRows(nil, record); !json.Valid(text) {
			t.Fatalf("%s", text)
		}
	})
}
