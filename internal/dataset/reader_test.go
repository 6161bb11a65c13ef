package dataset

import (
	"context"
	"io"
	"strings"
	"testing"

	modelmanager "modelmanager.dev"
)

// patients is the schema of most tests here.
func patients(t testing.TB) *Schema {
	t.Helper()
	s, err := Compile([]modelmanager.Field{
		{Name: "age", Type: modelmanager.Integer, Minimum: ptr(0.0)},
		{Name: "radius", Type: modelmanager.Number, Nullable: true},
		{Name: "side", Type: modelmanager.String, Enum: []any{"left", "right"}, Nullable: true},
		{Name: "taken", Type: modelmanager.String, Format: modelmanager.FormatDate, Nullable: true},
		{Name: "smoker", Type: modelmanager.Boolean},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// read sniffs and reads a whole file.
func read(t testing.TB, src Source, input modelmanager.JobInput, s *Schema) ([]*Batch, *Reader) {
	t.Helper()
	ctx := context.Background()
	input, err := Sniff(ctx, src, input, s)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(ctx, src, input, s, Whole(), ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return drain(t, r), r
}

func drain(t testing.TB, r *Reader) []*Batch {
	t.Helper()
	defer r.Close()
	var batches []*Batch
	for {
		batch, err := r.Next()
		if err == io.EOF {
			return batches
		}
		if err != nil {
			t.Fatal(err)
		}
		batches = append(batches, batch)
	}
}

// rowsOf writes the accepted rows as JSON, a line each.
func rowsOf(s *Schema, batches []*Batch) string {
	var text []byte
	for _, batch := range batches {
		for i := range int(batch.Record.NumRows()) {
			text = append(s.AppendRow(text, batch.Record, i), '\n')
		}
	}
	return string(text)
}

func TestReadCSV(t *testing.T) {
	s := patients(t)
	batches, r := read(t, NewBytesSource([]byte(strings.Join([]string{
		"id,age,radius,side,taken,smoker",
		`"a,1",40,1.5,left,2024-02-29,true`,
		`b,41.0,,"right",,FALSE`,
		``,
		`c,-1,1.5,middle,2024-02-30,yes`,
		`d,1,2`,
		"e,7,3,,2020-01-01,true",
	}, "\r\n"))), modelmanager.JobInput{}, s)
	want := `{"age":40,"radius":1.5,"side":"left","taken":"2024-02-29","smoker":true}
{"age":41,"radius":null,"side":"right","taken":null,"smoker":false}
{"age":7,"radius":3,"side":null,"taken":"2020-01-01","smoker":true}
`
	if got := rowsOf(s, batches); got != want {
		t.Errorf("rows:\n%s\nwant:\n%s", got, want)
	}
	b := batches[0]
	if len(b.Rejected) != 2 || b.Rejected[0].Row != 3 || b.Rejected[1].Row != 4 || r.Rows() != 5 {
		t.Fatalf("rejected: %+v", b.Rejected)
	}
	if got, want := string(b.Rejected[0].Raw), `{"id":"c","age":"-1","radius":"1.5","side":"middle","taken":"2024-02-30","smoker":"yes"}`; got != want {
		t.Errorf("raw %s, want %s", got, want)
	}
	if got, want := string(b.Rejected[1].Raw), `{"_row":"d,1,2"}`; got != want {
		t.Errorf("raw %s, want %s", got, want)
	}
}

// TestJSONLMissingKey: a feature that no row has is a missing column, said once
// and before the first row; an optional one is filled.
func TestJSONLMissingKey(t *testing.T) {
	ctx := context.Background()
	half := &modelmanager.Default{Value: 0.5}
	s := mustCompile(t,
		modelmanager.Field{Name: "age", Type: modelmanager.Integer},
		modelmanager.Field{Name: "net_worth", Type: modelmanager.Number, Nullable: true},
		modelmanager.Field{Name: "share", Type: modelmanager.Number, Default: half},
		modelmanager.Field{Name: "bonus", Type: modelmanager.Number, Default: half, Optional: true},
		modelmanager.Field{Name: "note", Type: modelmanager.String, Optional: true, Nullable: true})
	open := func(text string, columns map[string]string) (*Reader, error) {
		src := NewBytesSource([]byte(text))
		input, err := Sniff(ctx, src, modelmanager.JobInput{Format: "jsonl", Columns: columns}, s)
		if err != nil {
			t.Fatal(err)
		}
		return NewReader(ctx, src, input, s, Whole(), ReaderOptions{})
	}
	lines := strings.Repeat(`{"age": 1, "Net worth": 2.5}`+"\n", 3)
	_, err := open(lines, nil)
	e, _ := err.(*modelmanager.Error)
	if e == nil || e.Code != modelmanager.CodeMissingColumn || len(e.Rows) != 2 ||
		e.Rows[0].Feature != "net_worth" || !strings.Contains(e.Rows[0].Message, `"Net worth"`) || e.Rows[1].Feature != "share" {
		t.Fatalf("without two keys: %v", err)
	}
	if _, err = open(lines, map[string]string{"net_worth": "Net wort", "share": "Net worth"}); modelmanager.CodeOf(err) != modelmanager.CodeMissingColumn {
		t.Errorf("mapped to a key that is not there: %v", err)
	}
	for name, text := range map[string]string{
		"the keys come late":   `{"age": 1}` + "\n" + `{"age": 2, "net_worth": null, "share": 1}` + "\n",
		"no row can be read":   "{age: 1}\n{\n",
		"the file has no rows": "\n",
	} {
		if _, err := open(text, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := open(lines, map[string]string{"net_worth": "Net worth", "share": "Net worth"}); modelmanager.CodeOf(err) != modelmanager.CodeInvalidInput {
		t.Errorf("one key for two features: %v", err)
	}
	r, err := open(`{"age": 1, "Net worth": 2.5, "share": 1}`+"\n", map[string]string{"net_worth": "Net worth"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := rowsOf(s, drain(t, r)), `{"age":1,"net_worth":2.5,"share":1,"bonus":0.5,"note":null}`+"\n"; got != want {
		t.Errorf("optional features: %s, want %s", got, want)
	}
}
