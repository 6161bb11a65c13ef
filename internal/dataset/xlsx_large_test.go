package dataset

import (
	"archive/zip"
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	modelmanager "modelmanager.dev"
)

// TestLargeWorkbook reads 300,000 rows with 600,000 shared texts: memory stays
// flat, and every text is its own.
func TestLargeWorkbook(t *testing.T) {
	const rows, limit = 300_000, 16 << 20
	path := filepath.Join(t.TempDir(), "large.xlsx")
	writeLargeWorkbook(t, path, rows)
	src, err := NewFileSource(path)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	s := mustCompile(t,
		modelmanager.Field{Name: "name", Type: modelmanager.String},
		modelmanager.Field{Name: "street", Type: modelmanager.String},
		modelmanager.Field{Name: "size", Type: modelmanager.Number})
	heap := func() int64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	before := heap()
	ctx := context.Background()
	input, err := Sniff(ctx, src, modelmanager.JobInput{}, s)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(ctx, src, input, s, Whole(), ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	most := int64(0)
	for n := 0; ; n++ {
		batch, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		row := int(batch.FirstRow) - 1
		// Cells name texts from both ends: a row's are far apart.
		want := fmt.Sprintf(`{"name":"name %d of a person","street":"street %d of a town","size":%d}`, row, rows-1-row, row)
		if got := string(s.AppendRow(nil, batch.Record, 0)); got != want || len(batch.Rejected) > 0 {
			t.Fatalf("row %d: %s, want %s; %d rejected", row, got, want, len(batch.Rejected))
		}
		if n%5 == 0 {
			most = max(most, heap()-before)
		}
		runtime.KeepAlive(batch)
	}
	t.Logf("%.1f MiB held at the most", float64(most)/(1<<20))
	if r.Rows() != rows || most > limit {
		t.Errorf("%d rows; %d MiB were held, of a file of %d MiB", r.Rows(), most>>20, src.Size()>>20)
	}
}

func writeLargeWorkbook(t *testing.T, path string, rows int) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	archive := zip.NewWriter(file)
	part := func(name string, write func(w *bufio.Writer)) {
		out, err := archive.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		w := bufio.NewWriter(out)
		write(w)
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	part("xl/workbook.xml", func(w *bufio.Writer) {
		fmt.Fprint(w, `<workbook xmlns:r="r"><sheets><sheet name="Data" sheetId="1" r:id="rId1"/></sheets></workbook>`)
	})
	part("xl/_rels/workbook.xml.rels", func(w *bufio.Writer) {
		fmt.Fprint(w, `<Relationships><Relationship Id="rId1" Type="http://x/worksheet" Target="worksheets/one.xml"/></Relationships>`)
	})
	part("xl/sharedStrings.xml", func(w *bufio.Writer) {
		fmt.Fprint(w, "<sst>")
		for i := range rows {
			fmt.Fprintf(w, "<si><t>name %d of a person</t></si>", i)
		}
		for i := range rows {
			fmt.Fprintf(w, "<si><t>street %d of a town</t></si>", i)
		}
		fmt.Fprint(w, "</sst>")
	})
	part("xl/worksheets/one.xml", func(w *bufio.Writer) {
		fmt.Fprint(w, `<worksheet><sheetData><row r="1"><c t="inlineStr"><is><t>name</t></is></c><c t="inlineStr"><is><t>street</t></is></c><c t="inlineStr"><is><t>size</t></is></c></row>`)
		for i := range rows {
			fmt.Fprintf(w, `<row r="%d"><c t="s"><v>%d</v></c><c t="s"><v>%d</v></c><c><v>%d</v></c></row>`, i+2, i, 2*rows-1-i, i)
		}
		fmt.Fprint(w, "</sheetData></worksheet>")
	})
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
}
