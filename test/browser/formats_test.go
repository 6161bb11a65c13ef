package browser_test

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/chromedp/chromedp"

	"modelmanager.dev"
)

// The same three donors as a German spreadsheet saves them, with a heading that
// means nothing to the model, and as whoever writes NA for nothing.
const (
	spender = `Spender;Betrag;gifts;first_gift_on;region;newsletter;age;channel;last_three_years.2023;last_three_years.2024;last_three_years.2025
d-1;50,5;14;02.11.2016;north;true;61;letter;120,25;150;50
d-2;10;1;15.06.2026;south;false;k.A.;street;0;0;0
d-3;200;3;20.01.2011;west;true;78;telephone;200;0;0
`
	turned = `Betrag;Spender;gifts;first_gift_on;region;newsletter;age;channel;last_three_years.2023;last_three_years.2024;last_three_years.2025
50,5;d-1;14;02.11.2016;north;true;61;letter;120,25;150;50
`
)

var (
	points = strings.Replace(strings.Replace(givers, "d-1,50,14", "d-1,50.5,14", 1), ",120,", ",120.25,", 1)
	nas    = strings.Replace(points, "false,,street", "false,NA,street", 1)
)

// TestAFileComesBackInItsOwnFormat: each is read, corrected, run, and comes back
// as it came, with what the API says of the same rows.
func TestAFileComesBackInItsOwnFormat(t *testing.T) {
	a, _ := newVisitor(t, donors)
	want := a.replies()
	compare := func(kind string, got []string) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("%s: %d rows, and the API has %d", kind, len(got), len(want))
		}
		for i, text := range got {
			if value, err := strconv.ParseFloat(strings.Replace(text, ",", ".", 1), 64); err != nil || math.Abs(value-want[i]) > 1e-12 {
				t.Errorf("%s, row %d: %q, and the API says %v", kind, i+1, text, want[i])
			}
		}
	}

	// CSV with semicolons and decimal commas: a column is matched by hand, then what
	// means empty, and the column stays.
	a.uploads("Spender.csv", []byte(spender))
	a.says(".dialect", "CSV with semicolons, utf-8, decimals like 1,5", "dates like DD.MM.YYYY")
	a.says("#verdict", "1 feature has no column")
	a.do(chromedp.SetValue(chromedp.CSS("#c-last_gift"), "Betrag"))
	a.clickText("[aria-labelledby=columns] button", "Check again")
	a.says("#verdict", "1 of all 3 rows doesn't fit")
	a.says(".problems", "age", "k.A.")
	a.corrects("null", "k.A.")
	a.says("#verdict", "Of all 3 rows, every one fits.")
	a.seen("batch-check-semicolons")
	data := a.runs("Spender-predicted.csv")
	rows := records(t, data, ';')
	compare("CSV with semicolons", column(rows, "reply"))
	if rows[1][1] != "50,5" || rows[2][6] != "k.A." || rows[3][0] != "d-3" || rows[2][3] != "15.06.2026" {
		t.Errorf("the file's own columns are %q", rows)
	}

	// The next file with these headings, in another order, is matched alike.
	a.uploads("mehr.csv", []byte(turned))
	a.says("[aria-labelledby=columns]", "matched as you did the last time", "as last time")
	if value := read[string](a, "document.getElementById('c-last_gift').value"); value != "Betrag" {
		t.Errorf("last_gift is %q", value)
	}

	// CSV, compressed.
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := io.WriteString(w, nas); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	a.uploads("givers.csv.gz", packed.Bytes())
	a.says(".dialect", "CSV with commas", "compressed with gzip")
	a.says("#verdict", "1 of all 3 rows doesn't fit")
	a.says(".problems", "age", "NA")
	a.corrects("null", "NA")
	a.says("#verdict", "Of all 3 rows, every one fits.")
	compare("CSV, compressed", column(records(t, a.runs("givers-predicted.csv"), ','), "reply"))

	// Parquet, whose columns have types of their own.
	a.uploads("givers.parquet", asParquet(t, records(t, []byte(points), ',')))
	a.says(".dialect", "Parquet")
	a.says("#verdict", "Of all 3 rows, every one fits.")
	table := asTable(t, a.runs("givers-predicted.parquet"))
	defer table.Release()
	if at := table.Schema().FieldIndices("reply"); len(at) != 1 || table.Schema().Field(at[0]).Type.ID() != arrow.FLOAT64 {
		t.Fatalf("the result is %v", table.Schema())
	} else {
		var got []string
		for _, chunk := range table.Column(at[0]).Data().Chunks() {
			for i := range chunk.Len() {
				got = append(got, chunk.ValueStr(i))
			}
		}
		compare("Parquet", got)
	}
}

// replies asks the API about the rows of points.
func (a *analyst) replies() []float64 {
	a.t.Helper()
	request := modelmanager.PredictRequest{}
	for _, row := range []string{
		`{"last_gift": 50.5, "gifts": 14, "first_gift_on": "2016-11-02", "region": "north", "newsletter": true, "age": 61, "channel": "letter", "last_three_years": [120.25, 150, 50]}`,
		`{"last_gift": 10, "gifts": 1, "first_gift_on": "2026-06-15", "region": "south", "newsletter": false, "age": null, "channel": "street", "last_three_years": [0, 0, 0]}`,
		`{"last_gift": 200, "gifts": 3, "first_gift_on": "2011-01-20", "region": "west", "newsletter": true, "age": 78, "channel": "telephone", "last_three_years": [200, 0, 0]}`,
	} {
		request.Rows = append(request.Rows, json.RawMessage(row))
	}
	answer, err := a.api.Predict(a.t.Context(), "donor-reply", 0, request)
	if err != nil {
		a.t.Fatal(err)
	}
	var replies []float64
	for _, each := range answer.Predictions {
		var prediction struct{ Reply float64 }
		if err := json.Unmarshal(each, &prediction); err != nil {
			a.t.Fatal(err)
		}
		replies = append(replies, prediction.Reply)
	}
	return replies
}

// uploads chooses a file for donor-reply, and waits for how it is read.
func (a *analyst) uploads(name string, data []byte) {
	a.t.Helper()
	path := filepath.Join(a.t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		a.t.Fatal(err)
	}
	a.open("/models/donor-reply/batch")
	a.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{path}), chromedp.Click(chromedp.CSS("form[data-upload] button.primary")))
	a.until("location.search.indexOf('upload=') > 0 && document.readyState === 'complete'")
}

// corrects changes one thing of how a file is read, and looks again.
func (a *analyst) corrects(field, value string) {
	a.t.Helper()
	if !read[bool](a, "document.querySelector('details.dialect').open") {
		a.do(chromedp.Click(chromedp.CSS("details.dialect summary")))
	}
	a.do(chromedp.SetValue(chromedp.CSS("#d-"+field), value))
	a.clickText("details.dialect button", "Check again")
}

// runs predicts the file that is looked at, and returns the result, which has a
// certain name.
func (a *analyst) runs(want string) []byte {
	a.t.Helper()
	a.clickText("#verdict button", "Predict this file")
	a.until("location.pathname.indexOf('/jobs/') === 0 && document.getElementById('get') !== null")
	data, name := a.fetch(".downloads a.primary")
	if !strings.Contains(name, fmt.Sprintf("%q", want)) && !strings.HasSuffix(name, "="+want) {
		a.t.Errorf("the result is called %s, not %s", name, want)
	}
	return data
}

// records reads CSV.
func records(t *testing.T, data []byte, delimiter rune) [][]string {
	t.Helper()
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
	r.Comma = delimiter
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return rows
}

// column is one of a table's, without its name.
func column(rows [][]string, name string) []string {
	at := slices.Index(rows[0], name)
	var values []string
	for _, row := range rows[1:] {
		if at < 0 {
			values = append(values, "")
		} else {
			values = append(values, row[at])
		}
	}
	return values
}

// asParquet writes donors with the types that a data frame would have.
func asParquet(t *testing.T, rows [][]string) []byte {
	t.Helper()
	kinds := map[string]arrow.DataType{
		"gifts": arrow.PrimitiveTypes.Int64, "first_gift_on": arrow.FixedWidthTypes.Date32, "newsletter": arrow.FixedWidthTypes.Boolean, "age": arrow.PrimitiveTypes.Int32,
	}
	var fields []arrow.Field
	for _, name := range rows[0] {
		kind := kinds[name]
		switch {
		case kind != nil:
		case name == "last_gift" || strings.HasPrefix(name, "last_three_years."):
			kind = arrow.PrimitiveTypes.Float64
		default:
			kind = arrow.BinaryTypes.String
		}
		fields = append(fields, arrow.Field{Name: name, Type: kind, Nullable: true})
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	for _, row := range rows[1:] {
		for i, value := range row {
			if value == "" {
				b.Field(i).AppendNull()
			} else if err := b.Field(i).AppendValueFromString(value); err != nil {
				t.Fatal(fields[i].Name, err)
			}
		}
	}
	record := b.NewRecordBatch()
	defer record.Release()
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(record.Schema(), &out, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteBuffered(record); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func asTable(t *testing.T, data []byte) arrow.Table {
	t.Helper()
	table, err := pqarrow.ReadTable(t.Context(), bytes.NewReader(data), parquet.NewReaderProperties(memory.DefaultAllocator), pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	return table
}
