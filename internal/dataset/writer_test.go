package dataset

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/google/go-cmp/cmp"

	modelmanager "modelmanager.dev"
)

// risks is the predictions of most tests here.
func risks(t testing.TB) *Schema {
	t.Helper()
	s, err := Compile([]modelmanager.Field{
		{Name: "probability", Type: modelmanager.Number, Nullable: true},
		{Name: "class", Type: modelmanager.String, Enum: []any{"low", "high;x"}},
		{Name: "scores", Type: modelmanager.Array, Items: &modelmanager.Field{Type: modelmanager.Number}, Labels: []string{"a", "b"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// answer makes a prediction for every accepted row.
func answer(s *Schema, rows int) arrow.RecordBatch {
	b := NewBuilder(s)
	for i := range rows {
		if i == 1 {
			b.SetNull(0)
		} else {
			b.SetFloat(0, 0.25+float64(i))
		}
		b.SetString(1, []byte([]string{"low", "high;x"}[i%2]))
		b.SetValue(2, []byte("[1.5,2]"))
		b.EndRow(RefuseAbsent)
	}
	return b.Record()
}

// score reads a file, scores it and writes it.
func score(t testing.TB, src Source, input modelmanager.JobInput, output modelmanager.JobOutput, refused ...modelmanager.RowError) []byte {
	t.Helper()
	ctx := context.Background()
	s, predictions := patients(t), risks(t)
	input, err := Sniff(ctx, src, input, s)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(ctx, src, input, s, Whole(), ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := NewWriter(&out, WriterOptions{
		Input: input, Header: r.Header(), Features: s, Predictions: predictions, Output: output,
		Model: "m", Version: 3, Job: "j1", ScoredAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), WriteHeader: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, batch := range drain(t, r) {
		if err := w.Write(batch, answer(predictions, int(batch.Record.NumRows())), refused); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

const semicolons = "\uFEFFid;age;radius;side;taken;smoker\r\n" +
	"\"a;\"\"1\";40;1,5;left;2024-02-29;true\r\n" +
	"b;x;;;;TRUE\r\n" +
	"00c; 41 ;2,25;\"right\";;false\r\n" +
	"d;1\r\n"

func TestWriteCSVAsRead(t *testing.T) {
	got := score(t, NewBytesSource([]byte(semicolons)), modelmanager.JobInput{}, modelmanager.JobOutput{Add: []string{"_model", "_version"}})
	want := "\uFEFFid;age;radius;side;taken;smoker;probability;class;scores.a;scores.b;_model;_version\r\n" +
		"\"a;\"\"1\";40;1,5;left;2024-02-29;true;0,25;low;1,5;2;m;3\r\n" +
		"00c; 41 ;2,25;\"right\";;false;;\"high;x\";1,5;2;m;3\r\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestWriteCSVInline(t *testing.T) {
	got := score(t, NewBytesSource([]byte(semicolons)), modelmanager.JobInput{},
		modelmanager.JobOutput{Add: []string{}, Rejected: "inline", Prefix: "p_"}, modelmanager.RowError{Row: 1, Message: "too old"})
	want := "\uFEFFid;age;radius;side;taken;smoker;p_probability;p_class;p_scores.a;p_scores.b;_error\r\n" +
		"\"a;\"\"1\";40;1,5;left;2024-02-29;true;0,25;low;1,5;2;\r\n" +
		"b;x;;;;TRUE;;;;;\"age: \"\"x\"\" is not an integer\"\r\n" +
		"00c; 41 ;2,25;\"right\";;false;;;;;too old\r\n" +
		"d;1;;;;;;;;;the row has 2 cells, and the header 6\r\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestWriteOtherFormats(t *testing.T) {
	got := score(t, NewBytesSource([]byte(semicolons)), modelmanager.JobInput{}, modelmanager.JobOutput{Format: "jsonl"})
	want := `{"id":"a;\"1","age":40,"radius":1.5,"side":"left","taken":"2024-02-29","smoker":true,"probability":0.25,"class":"low","scores":[1.5,2],"_model":"m","_version":3,"_job":"j1","_scored_at":"2026-01-02T03:04:05Z"}
{"id":"00c","age":41,"radius":2.25,"side":"right","taken":null,"smoker":false,"probability":null,"class":"high;x","scores":[1.5,2],"_model":"m","_version":3,"_job":"j1","_scored_at":"2026-01-02T03:04:05Z"}
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}

	parquet := score(t, NewBytesSource([]byte(semicolons)), modelmanager.JobInput{}, modelmanager.JobOutput{Format: "parquet", Rejected: "inline"})
	again := score(t, NewBytesSource(parquet), modelmanager.JobInput{}, modelmanager.JobOutput{Format: "jsonl", Prefix: "new_", Add: []string{}})
	if n := strings.Count(string(again), "\n"); n != 2 {
		t.Errorf("%d rows from Parquet:\n%s", n, again)
	}
	jsonl := score(t, NewBytesSource(got), modelmanager.JobInput{}, modelmanager.JobOutput{Format: "csv", Prefix: "new_", Add: []string{}})
	if n := strings.Count(string(jsonl), "\n"); n != 3 {
		t.Errorf("%d lines from JSON Lines:\n%s", n, jsonl)
	}
	t.Logf("\n%s\n%s", again, jsonl)
}

func TestWriteLateKeys(t *testing.T) {
	ctx := context.Background()
	s, predictions := textSchema(t), risks(t)
	for _, test := range []struct {
		late, format string
		ok           bool
	}{
		{`{"text":"x","new":1}`, "csv", false},
		{`{"text":"x","new":1}`, "parquet", false},
		{`{"text":"x","new":1}`, "xlsx", false},
		{`{"text":"x","new":1}`, "jsonl", true},
		{`{"text":"x","probability":1}`, "jsonl", false},
		{`{"text":"a \"probability\": b"}`, "jsonl", true},
		{`{ }`, "jsonl", true}, // rejected
	} {
		src := NewBytesSource([]byte(strings.Repeat("{\"text\":\"a\"}\n", jsonlHeaderRows+1) + test.late + "\n"))
		input := modelmanager.JobInput{Format: "jsonl"}
		r, err := NewReader(ctx, src, input, s, Whole(), ReaderOptions{})
		if err != nil {
			t.Fatal(err)
		}
		w, err := NewWriter(io.Discard, WriterOptions{Format: test.format, Input: input, Header: r.Header(), Predictions: predictions})
		if err != nil {
			t.Fatal(err)
		}
		batch := drain(t, r)[0]
		err = w.Write(batch, answer(predictions, int(batch.Record.NumRows())), nil)
		if test.ok != (err == nil) || err != nil && modelmanager.CodeOf(err) != modelmanager.CodeInvalidInput {
			t.Errorf("%s to %s: %v", test.late, test.format, err)
		}
	}
}
