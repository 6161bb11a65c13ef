package batch

import (
	"bytes"
	encodingcsv "encoding/csv"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/spec"
)

func TestSample(t *testing.T) {
	for _, format := range []string{"csv", "jsonl", "parquet", "xlsx"} {
		t.Run(format, func(t *testing.T) {
			w := newWorld(t, func(s *spec.Spec) { s.Batch.RowsPerShard = 100 })
			w.start()
			request := w.request(w.file("a.csv", table(1500)))
			request.Output = modelmanager.JobOutput{Format: format, Prefix: "new_", Add: []string{}}
			job := w.run(request)
			sample, err := w.service.Sample(t.Context(), job.ID, 3)
			if err != nil {
				t.Fatal(err)
			}
			if len(sample.Rows) != 3 || !slices.Equal(sample.Columns, []string{"id", "x", "new_y"}) || !slices.Equal(sample.Rows[2], []string{"r3", "3", "6"}) {
				t.Errorf("%q %q", sample.Columns, sample.Rows)
			}
			if sample.Total != 1500 || sample.Looked != 1000 || sample.Parts != 10 || sample.AllParts != 15 {
				t.Errorf("%+v", sample)
			}
			if len(sample.Predictions) != 1 {
				t.Fatalf("%+v", sample.Predictions)
			}
			y := sample.Predictions[0]
			var n int64
			for _, bin := range y.Bins {
				n += bin.Count
			}
			if y.Name != "new_y" || y.Count != 1000 || n != 1000 || y.Min != 2 || y.Max < 2800 || len(y.Bins) < 10 || y.Bins[0].From != 0 || y.Bins[0].To != 200 {
				t.Errorf("%+v", y)
			}
		})
	}
}

// csv50 is a file of n good rows.
func table(n int) []byte {
	var b bytes.Buffer
	b.WriteString("id,x\n")
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, "r%d,%d\n", i, i)
	}
	return b.Bytes()
}

func TestBins(t *testing.T) {
	for _, test := range []struct {
		numbers []float64
		whole   bool
		want    []modelmanager.Bin
	}{
		{[]float64{5, 5}, false, []modelmanager.Bin{{From: 5, To: 5, Count: 2}}},
		{[]float64{1, 2, 2, 3}, true, []modelmanager.Bin{{From: 1, To: 2, Count: 1}, {From: 2, To: 3, Count: 2}, {From: 3, To: 4, Count: 1}}},
		{[]float64{0, 1e-300}, false, nil},
		{[]float64{-1e308, 1e308}, false, nil},
		{[]float64{1e17, 1e17 + 32}, false, nil},
	} {
		got := binned(test.numbers, slices.Min(test.numbers), slices.Max(test.numbers), test.whole)
		if test.want != nil {
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			continue
		}
		var n int64
		for _, bin := range got {
			n += bin.Count
		}
		if int(n) != len(test.numbers) || len(got) > maxBins+2 {
			t.Errorf("%v: %v", test.numbers, got)
		}
	}
	hundredths := make([]float64, 101)
	for i := range hundredths {
		hundredths[i] = float64(i) / 100
	}
	bins := binned(hundredths, 0, 1, false)
	if len(bins) != 20 || bins[0].From != 0 || bins[19].To != 1 || bins[2].To != 0.15 || bins[0].Count != 5 || bins[19].Count != 6 {
		t.Errorf("%v", bins)
	}
}

func TestRejectedRowsAsATable(t *testing.T) {
	w := newWorld(t, nil)
	w.platform.predictor = func() worker.Predictor { return &doubler{refuse: func(x float64) bool { return x == 13 }} }
	w.start()
	request := w.request(w.file("a.csv", []byte("id;x;note\n1;much;\"=a;b\"\n2;13;\n3;1;c\n4;5;d;e\n")))
	request.MaxRejected, request.Output.Formulas = "100%", "escape"
	job := w.run(request)
	want := [][]string{
		{"id", "x", "note", "_row", "_column", "_error", "_raw"},
		{"1", "much", "'=a;b", "1", "x", "", ""},
		{"2", "13", "", "2", "", "refuses 13", ""},
		{"", "", "", "4", "", "", "4;5;d;e"},
	}
	compare := func(got [][]string) {
		t.Helper()
		for i, row := range got {
			for len(row) < 7 {
				row = append(row, "")
			}
			if i > 0 && row[5] == "" {
				t.Errorf("row %d has no reason", i)
			}
			if i == 1 || i == 3 {
				row[5] = ""
			}
			got[i] = row
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	var out bytes.Buffer
	if err := w.service.RejectedTable(t.Context(), job.ID, "csv", &out); err != nil {
		t.Fatal(err)
	}
	r := encodingcsv.NewReader(strings.NewReader(strings.TrimPrefix(out.String(), "\ufeff")))
	r.Comma = ';'
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	compare(rows)
	out.Reset()
	if err := w.service.RejectedTable(t.Context(), job.ID, "xlsx", &out); err != nil {
		t.Fatal(err)
	}
	book, err := excelize.OpenReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	if rows, err = book.GetRows(book.GetSheetName(0)); err != nil {
		t.Fatal(err)
	}
	compare(rows)
}

func TestWhatAJobHasCost(t *testing.T) {
	w := newWorld(t, func(s *spec.Spec) { s.Batch.RowsPerShard = 100 })
	w.platform.predictor = func() worker.Predictor { return &metered{} }
	w.start()
	if job := w.run(w.request(w.file("a.csv", table(300)))); job.CPUSeconds != 4.5 {
		t.Errorf("three shards of 1.5 s each cost %v", job.CPUSeconds)
	}
}

func TestMine(t *testing.T) {
	w := newWorld(t, nil)
	w.start()
	for _, by := range []string{"ann", "bob", "ann"} {
		request := w.request(w.file("a.csv", table(3)))
		request.By = by
		w.run(request)
	}
	page, err := w.service.List(t.Context(), Query{By: "ann"})
	if err != nil || len(page.Jobs) != 2 || page.Jobs[0].By != "ann" || page.NextPageToken != "" {
		t.Errorf("%+v %v", page, err)
	}
}

// A page of somebody's jobs ends early where it would have to read too many of others.
func TestAListThatFindsLittleEnds(t *testing.T) {
	w := newWorld(t, nil)
	at := time.Now()
	add := func(by string) string {
		at = at.Add(-time.Second)
		id := newID(at)
		job := modelmanager.Job{ID: id, Model: "m", State: modelmanager.JobSucceeded, By: by}
		if err := w.service.create(t.Context(), manifestKey(id), Manifest{Job: job}); err != nil {
			t.Fatal(err)
		}
		if err := w.service.config.Bucket.WriteAll(t.Context(), historyKey(id, "m", job.State), nil); err != nil {
			t.Fatal(err)
		}
		return id
	}
	for range listReads + 50 {
		add("bob")
	}
	wanted := add("ann")
	first, err := w.service.List(t.Context(), Query{By: "ann", Limit: 10})
	if err != nil || len(first.Jobs) != 0 || first.NextPageToken == "" {
		t.Fatalf("%+v %v", first, err)
	}
	rest, err := w.service.List(t.Context(), Query{By: "ann", Limit: 10, PageToken: first.NextPageToken})
	if err != nil || len(rest.Jobs) != 1 || rest.Jobs[0].ID != wanted || rest.NextPageToken != "" {
		t.Errorf("%+v %v", rest, err)
	}
}
