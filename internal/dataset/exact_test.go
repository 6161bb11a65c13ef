package dataset

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	modelmanager "modelmanager.dev"
)

// TestExactIntegers: an integer arrives with all its digits, or its row is
// refused. Doubles, and the 15 digits of a spreadsheet, never stand for others.
func TestExactIntegers(t *testing.T) {
	s := mustCompile(t,
		modelmanager.Field{Name: "id", Type: modelmanager.Integer, Format: modelmanager.FormatInt64},
		modelmanager.Field{Name: "code", Type: modelmanager.String},
		modelmanager.Field{Name: "count", Type: modelmanager.Integer})
	const long = "9007199254740993" // 2^53+1: the nearest doubles are its neighbours
	sheet := func(id, code, count string) Source {
		return handmade(t, `<sheetData><row r="1">`+inline("A1", "id")+inline("B1", "code")+inline("C1", "count")+inline("D1", "card")+`</row>`+
			`<row r="2">`+id+code+count+`<c r="D2"><v>1234567890123456789</v></c></row></sheetData>`, false)
	}
	number := func(ref, text string) string { return `<c r="` + ref + `"><v>` + text + `</v></c>` }
	one := number("C2", "1")
	for _, test := range []struct {
		name    string
		src     Source
		want    string // of the row; or
		feature string // that is refused, and
		fault   string // why
	}{
		{name: "csv", src: NewBytesSource([]byte("id,code,count\n" + long + "," + long + ",1\n")), want: long},
		{name: "jsonl", src: NewBytesSource([]byte(`{"id":"` + long + `","code":"` + long + `","count":1}`)), want: long},
		{name: "jsonl, as a number", src: NewBytesSource([]byte(`{"id":` + long + `,"code":"` + long + `","count":1}`)), feature: "id", fault: "as a string"},
		{name: "parquet", src: oneRow(t, arrow.PrimitiveTypes.Int64, long, long), want: long},
		{name: "parquet, as text", src: oneRow(t, arrow.BinaryTypes.String, long, long), feature: "id", fault: "column is of type"},
		{name: "parquet, as a decimal", src: oneRow(t, &arrow.Decimal128Type{Precision: 38, Scale: 2}, long, long), want: long},
		{name: "parquet, as a double", src: oneRow(t, arrow.PrimitiveTypes.Float64, long, long), feature: "id", fault: "2^53"},
		{name: "parquet, as a small double", src: oneRow(t, arrow.PrimitiveTypes.Float64, "12", long), want: "12"},
		{name: "parquet, as a float", src: oneRow(t, arrow.PrimitiveTypes.Float32, "16777217", long), feature: "id", fault: "2^24"},
		{name: "xlsx, as text", src: sheet(inline("A2", long), inline("B2", long), one), want: long},
		{name: "xlsx, as a number", src: sheet(number("A2", long), inline("B2", long), one), feature: "id", fault: long + " is a number of more than 15 digits"},
		{name: "xlsx, as a number, by its exponent", src: sheet(number("A2", "9.00719925474099E+15"), inline("B2", long), one), feature: "id", fault: "more than 15 digits"},
		{name: "xlsx, a code as a number", src: sheet(inline("A2", long), number("B2", "4111111111111111"), one), feature: "code", fault: "4111111111111111 is a number of more than 15 digits"},
		{name: "xlsx, an integer as a number", src: sheet(inline("A2", long), inline("B2", long), number("C2", "1234567890123456")), feature: "count", fault: "more than 15 digits"},
		{name: "xlsx, 15 digits", src: sheet(number("A2", "-123456789012345"), inline("B2", long), one), want: "-123456789012345"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := context.Background()
			input, err := Sniff(ctx, test.src, modelmanager.JobInput{}, s)
			if err != nil {
				t.Fatal(err)
			}
			r, err := NewReader(ctx, test.src, input, s, Whole(), ReaderOptions{})
			if err != nil {
				if test.fault == "" || !strings.Contains(err.Error(), test.fault) {
					t.Fatal(err)
				}
				return
			}
			batch := drain(t, r)[0]
			if test.fault != "" {
				if len(batch.Rejected) != 1 || batch.Rejected[0].Feature != test.feature || !strings.Contains(batch.Rejected[0].Message, test.fault) {
					t.Errorf("rejected: %+v, want %s: %s", batch.Rejected, test.feature, test.fault)
				}
				return
			}
			if len(batch.Rejected) != 0 {
				t.Fatalf("rejected: %+v", batch.Rejected)
			}
			if got, want := rowsOf(s, []*Batch{batch}), `{"id":"`+test.want+`","code":"`+long+`","count":1}`+"\n"; got != want {
				t.Errorf("%s, want %s", got, want)
			}
			for _, to := range []string{"csv", "jsonl", "xlsx"} { // ids that are no features keep their digits too
				if text := writtenAs(t, to, input, r.Header(), s, batch); input.Format == "xlsx" && !strings.Contains(text, "1234567890123456789") {
					t.Errorf("as %s: %s", to, text)
				}
			}
		})
	}
}

func inline(ref, text string) string {
	return `<c r="` + ref + `" t="inlineStr"><is><t>` + text + `</t></is></c>`
}

// oneRow is a Parquet file of the row of TestExactIntegers.
func oneRow(t *testing.T, id arrow.DataType, value, code string) Source {
	t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: id}, {Name: "code", Type: arrow.BinaryTypes.String}, {Name: "count", Type: arrow.PrimitiveTypes.Int32},
	}, nil))
	for i, text := range []string{value, code, "1"} {
		if err := b.Field(i).AppendValueFromString(text); err != nil {
			t.Fatal(err)
		}
	}
	return NewBytesSource(parquetOf(t, b.NewRecordBatch()))
}

// writtenAs writes a batch in a format, and returns its cells as texts.
func writtenAs(t *testing.T, format string, input modelmanager.JobInput, header *Header, s *Schema, batch *Batch) string {
	t.Helper()
	predictions := risks(t)
	var out bytes.Buffer
	w, err := NewWriter(&out, WriterOptions{Format: format, Input: input, Header: header, Features: s, Predictions: predictions, WriteHeader: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(batch, answer(predictions, int(batch.Record.NumRows())), nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if format != "xlsx" {
		return out.String()
	}
	batches, _ := read(t, NewBytesSource(out.Bytes()), modelmanager.JobInput{}, mustCompile(t))
	texts, _ := batches[0].Texts(0)
	return strings.Join(texts, " ")
}
