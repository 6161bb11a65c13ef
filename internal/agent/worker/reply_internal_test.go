package worker

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

// TestElementsAreThoseOfJSON compares the cutting of arrays with encoding/json.
func TestElementsAreThoseOfJSON(t *testing.T) {
	value := rapid.Custom(func(t *rapid.T) any { return anyValue(t, 3) })
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOf(value).Draw(t, "list")
		data, err := json.MarshalIndent(list, " ", "\t")
		if err != nil {
			t.Fatal(err)
		}
		var want []json.RawMessage
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
		got, err := elements(data)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d elements of %d in %s: %v", len(got), len(want), data, err)
		}
		for i := range got {
			if string(got[i]) != string(want[i]) {
				t.Fatalf("element %d: %s, want %s", i, got[i], want[i])
			}
		}
	})
}

func anyValue(t *rapid.T, depth int) any {
	kind := rapid.IntRange(0, 5).Draw(t, "kind")
	if depth == 0 && kind > 3 {
		kind = 0
	}
	switch kind {
	case 1:
		return rapid.String().Draw(t, "string")
	case 2:
		return rapid.Float64Range(-1e9, 1e9).Draw(t, "number")
	case 3:
		return rapid.Bool().Draw(t, "bool")
	case 4:
		m := map[string]any{}
		for _, key := range rapid.SliceOfN(rapid.String(), 0, 3).Draw(t, "keys") {
			m[key] = anyValue(t, depth-1)
		}
		return m
	case 5:
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			list = append(list, anyValue(t, depth-1))
		}
		return list
	}
	return nil
}

func FuzzParseReply(f *testing.F) {
	f.Add([]byte(`{"id":7,"predictions":[{"y":NaN},null],"errors":[{"row":1,"message":"\"]"}]}`))
	f.Add([]byte(`{"id":1,"columns":{"y":[1,2]}} `))
	f.Add([]byte(`{"id`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := parseReply(line)
		if err == nil && len(r.Predictions) > 0 {
			elements(r.Predictions)
		}
	})
}
