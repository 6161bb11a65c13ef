package dataset

import (
	"testing"

	"modelmanager.dev"
)

func mustCompile(t testing.TB, fields ...modelmanager.Field) *Schema {
	t.Helper()
	s, err := Compile(fields)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRecordsKeepTheirRows checks that rows which follow a Record never touch it.
func TestRecordsKeepTheirRows(t *testing.T) {
	s := mustCompile(t,
		modelmanager.Field{Name: "x", Type: modelmanager.Number},
		modelmanager.Field{Name: "s", Type: modelmanager.String, Nullable: true},
		modelmanager.Field{Name: "l", Type: modelmanager.String, Enum: []any{"left", "right"}},
		modelmanager.Field{Name: "b", Type: modelmanager.Boolean},
		modelmanager.Field{Name: "a", Type: modelmanager.Array, MaxItems: ptr(3), Items: &modelmanager.Field{Type: modelmanager.Integer}},
		modelmanager.Field{Name: "v", Type: modelmanager.Array, Length: ptr(2), Nullable: true, Items: &modelmanager.Field{Type: modelmanager.Number}},
	)
	b := NewBuilder(s)
	var want []string
	var records []interface{ MarshalJSON() ([]byte, error) }
	for _, rows := range [][]string{
		{`{"x":1.5,"s":"one","l":"left","b":true,"a":[1,2],"v":[1,2]}`, `{"x":2.5,"s":null,"l":"right","b":false,"a":[],"v":null}`},
		{`{"x":9,"s":"two","l":"right","b":false,"a":[3],"v":null}`},
		{`{"x":7,"s":"three","l":"right","b":true,"a":[4,5,6],"v":[5,6]}`, `{"x":6,"s":"","l":"left","b":true,"a":[9],"v":[7,8]}`},
	} {
		for _, row := range rows {
			b.SetJSON([]byte(row))
			if problems := b.EndRow(RefuseAbsent); problems != nil {
				t.Fatal(problems)
			}
			b.SetJSON([]byte(`{"x":"no","s":"taken back","a":[1],"v":[1,2]}`))
			if problems := b.EndRow(RefuseAbsent); len(problems) != 3 {
				t.Fatal(problems)
			}
		}
		record := b.Record()
		text, err := record.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		records, want = append(records, record), append(want, string(text))
	}
	for i, record := range records {
		if text, _ := record.MarshalJSON(); string(text) != want[i] {
			t.Errorf("record %d became\n%s, was\n%s", i, text, want[i])
		}
	}
}

func ptr[T any](v T) *T { return &v }
