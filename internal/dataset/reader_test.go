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
