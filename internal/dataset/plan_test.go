package dataset

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	modelmanager "modelmanager.dev"
)

// textSchema has one feature; every other column passes through.
func textSchema(t testing.TB) *Schema {
	t.Helper()
	s, err := Compile([]modelmanager.Field{{Name: "text", Type: modelmanager.String, Nullable: true}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// randomCSV draws a file: quotes, line breaks, mixed line ends, blank lines,
// characters of several bytes, encodings.
func randomCSV(t *rapid.T) ([]byte, modelmanager.JobInput, [][]string) {
	delim := rapid.SampledFrom([]string{",", ";", "tab", "|"}).Draw(t, "delimiter")
	encoding := rapid.SampledFrom([]string{"utf-8", "windows-1252", "utf-16le", "utf-16be", "iso-8859-15"}).Draw(t, "encoding")
	input := modelmanager.JobInput{Format: "csv", Compression: "none", Delimiter: delim, Encoding: encoding, Decimal: ".", HeaderRow: 1, Null: []string{""}}
	d, _ := delimiterOf(input)
	alphabet := []rune{'a', 'b', '1', ' ', ',', ';', '|', '\t', '"', '\n', '\r', 'é', 'ü'}
	if strings.HasPrefix(encoding, "utf") {
		alphabet = append(alphabet, '€', '語', '😀')
	}
	cell := rapid.StringOfN(rapid.SampledFrom(alphabet), 0, 8, -1)
	ends := rapid.SampledFrom([]string{"\n", "\r\n", "\r"})
	var text strings.Builder
	if rapid.Bool().Draw(t, "bom") && strings.HasPrefix(encoding, "utf") {
		text.WriteString(bom)
	}
	text.WriteString("id" + string(d) + "text" + ends.Draw(t, "end"))
	var rows [][]string
	n := rapid.IntRange(0, 30).Draw(t, "rows")
	for i := range n {
		row := []string{fmt.Sprint(i + 1), cell.Draw(t, "cell")}
		rows = append(rows, row)
		value := row[1]
		if value == "" || strings.ContainsAny(value, "\r\n\""+string(d)) || rapid.Bool().Draw(t, "quoted") {
			value = `"` + strings.ReplaceAll(value, `"`, `""`) + `"`
		}
		text.WriteString(row[0] + string(d) + value)
		if i < n-1 || rapid.Bool().Draw(t, "last end") {
			text.WriteString(ends.Draw(t, "end"))
			if rapid.IntRange(0, 9).Draw(t, "blank") == 0 {
				text.WriteString(ends.Draw(t, "end"))
			}
		}
	}
	e, err := lookupEncoding(encoding)
	if err != nil {
		t.Fatal(err)
	}
	data := []byte(text.String())
	if e.codec != nil {
		if data, err = e.codec.NewEncoder().Bytes(data); err != nil {
			t.Fatal(err)
		}
	}
	return data, input, rows
}

// collectRows reads a slice and notes every row under its number.
func collectRows(t *rapid.T, src Source, input modelmanager.JobInput, s *Schema, slice Slice, into map[int64][]string) {
	r, err := NewReader(context.Background(), src, input, s, slice, ReaderOptions{
		BatchRows: rapid.IntRange(1, 12).Draw(t, "batch"), Parallel: rapid.IntRange(1, 3).Draw(t, "parallel"),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		batch, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(batch.Rejected) > 0 {
			t.Fatalf("rejected %+v", batch.Rejected)
		}
		for i := range batch.Rows {
			number := batch.FirstRow + int64(i)
			if _, ok := into[number]; ok {
				t.Fatalf("row %d is there twice", number)
			}
			values, ok := batch.Extra.values(nil, i)
			if !ok || len(values) != 2 {
				t.Fatalf("row %d has values %v", number, values)
			}
			into[number] = []string{string(values[0].text), string(values[1].text)}
			if got := arrowValue(batch.Record.Column(0), i); string(got.text) != into[number][1] {
				t.Fatalf("row %d is %q, its cell %q", number, got.text, into[number][1])
			}
		}
	}
}

func checkRows(t *rapid.T, got map[int64][]string, want [][]string) {
	if len(got) != len(want) {
		t.Fatalf("%d rows, want %d", len(got), len(want))
	}
	for i, row := range want {
		if g := got[int64(i+1)]; len(g) != 2 || g[0] != row[0] || g[1] != row[1] {
			t.Fatalf("row %d is %q, want %q", i+1, g, row)
		}
	}
}

func TestShardsAreTheFile(t *testing.T) {
	s := textSchema(t)
	rapid.Check(t, func(t *rapid.T) {
		data, input, want := randomCSV(t)
		src := NewBytesSource(data)
		slices, err := Plan(context.Background(), src, input, int64(rapid.IntRange(1, 10).Draw(t, "rows per shard")))
		if err != nil {
			t.Fatal(err)
		}
		got := map[int64][]string{}
		for _, slice := range slices {
			collectRows(t, src, input, s, slice, got)
		}
		checkRows(t, got, want)
	})
}

func TestSplitIsTheFile(t *testing.T) {
	s := textSchema(t)
	rapid.Check(t, func(t *rapid.T) {
		data, input, want := randomCSV(t)
		var packed bytes.Buffer
		var w io.WriteCloser = gzip.NewWriter(&packed)
		input.Compression = "gzip"
		if rapid.Bool().Draw(t, "zstd") {
			w, _ = zstd.NewWriter(&packed)
			input.Compression = "zstd"
		}
		_, _ = w.Write(data)
		_ = w.Close()
		var pieces []*bytes.Buffer
		slices, err := Split(context.Background(), NewBytesSource(packed.Bytes()), input, int64(rapid.IntRange(1, 10).Draw(t, "rows per shard")),
			func(int) (io.WriteCloser, error) {
				pieces = append(pieces, new(bytes.Buffer))
				return nopCloser{pieces[len(pieces)-1]}, nil
			})
		if err != nil || len(slices) != len(pieces) {
			t.Fatal(err, len(slices), len(pieces))
		}
		got := map[int64][]string{}
		for i, slice := range slices {
			collectRows(t, NewBytesSource(pieces[i].Bytes()), PieceInput(input), s, slice, got)
		}
		checkRows(t, got, want)
		whole := map[int64][]string{}
		collectRows(t, NewBytesSource(packed.Bytes()), input, s, Whole(), whole)
		checkRows(t, whole, want)
	})
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// FuzzScan checks the scanner against encoding/csv, where both accept a file.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{"a,b\n1,2\n", "\"a\"\"b\",c\r\n\"x\ny\",\n\n", "a\rb\r\n", "\"open", "\"a\"b,c", "5\" pipe,x"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkScan(t, data) })
}

// TestScanRandom is the fuzz test over the bytes that matter.
func TestScanRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	for range 5_000 {
		data := make([]byte, random.IntN(24))
		for i := range data {
			data[i] = "\"\"\",,\n\n\rab"[random.IntN(10)]
		}
		checkScan(t, data)
	}
}

func checkScan(t *testing.T, data []byte) {
	t.Helper()
	scanner := newRecordScanner(bytes.NewReader(data), ',', 0)
	var got [][]string
	clean := true
	var failure error
	for {
		raw, err := scanner.next()
		if err == io.EOF {
			break
		}
		if failure = err; err != nil {
			break
		}
		cells, ok := splitRecord(nil, raw, ',', bytes.IndexByte(raw, '"') >= 0)
		clean = clean && ok
		var row []string
		for _, cell := range cells {
			text, _ := cell.text(raw, nil)
			row = append(row, string(text))
		}
		got = append(got, row)
	}
	if failure == nil && scanner.offset != int64(len(data)) {
		t.Fatalf("%d of %d bytes are accounted for", scanner.offset, len(data))
	}
	if bytes.IndexByte(data, '\r') >= 0 {
		return // encoding/csv takes a lone CR for text, and CRLF in quotes for LF
	}
	reader := csv.NewReader(bytes.NewReader(data))
	reader.FieldsPerRecord = -1
	want, err := reader.ReadAll()
	if err != nil || failure != nil || !clean {
		if err == nil {
			t.Fatalf("encoding/csv reads it: %q; the scanner doesn't: %v", want, failure)
		}
		return
	}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Fatalf("%q: got %q, want %q", data, got, want)
	}
}
