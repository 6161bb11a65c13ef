package batch

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/parquet/file"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/shard"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/spec"
)

// sayRows makes the footer of a Parquet file say that it has so many rows.
func sayRows(t *testing.T, data []byte, rows int64) []byte {
	t.Helper()
	r, err := file.NewParquetReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	footer := r.MetaData()
	out := bytes.NewBuffer(bytes.Clone(data[:len(data)-8-int(footer.Size())]))
	footer.NumRows = rows
	n, err := footer.WriteTo(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	out.Write([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)})
	out.WriteString("PAR1")
	return out.Bytes()
}

// Rows that a model sees together, and that no memory of its holds, are refused
// before it is started.
func TestMoreRowsThanTheMemoryHolds(t *testing.T) {
	for _, c := range []struct {
		rows   spec.Rows
		memory int64
		reason string
	}{
		{spec.Dependent, 1 << 20, "200000 rows of 1 feature take 1 MiB at the least, and its resources.memory is 1 MiB; submit fewer rows"},
		{spec.Dependent, 2 << 20, ""},
		{spec.Independent, 1 << 20, ""},
	} {
		w := newWorld(t, func(s *spec.Spec) { s.Rows, s.Resources.Memory = c.rows, c.memory })
		job := w.run(w.request(w.file("a.csv", csv(200_000, nil))))
		if c.reason == "" {
			if job.State != modelmanager.JobSucceeded || job.Rows.Predicted != 200_000 {
				t.Errorf("of %s rows: %+v", c.rows, job)
			}
			continue
		}
		if job.State != modelmanager.JobFailed || job.Code != modelmanager.CodeTooLarge || !strings.Contains(job.Reason, c.reason) {
			t.Errorf("of %s rows: %+v", c.rows, job)
		}
	}
}

// What a sheet can't hold is refused as soon as the rows are known, and not
// after a run.
func TestMoreRowsThanASheetHolds(t *testing.T) {
	w := newWorld(t, nil)
	refused := func(err error) {
		t.Helper()
		if modelmanager.CodeOf(err) != modelmanager.CodeTooLarge || !strings.Contains(err.Error(), "csv or parquet") {
			t.Errorf("%v", err)
		}
	}
	told := func(request Request) bool {
		t.Helper()
		check, err := w.service.DryRun(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range check.Problems {
			if p.Code == modelmanager.CodeTooLarge {
				return true
			}
		}
		return false
	}
	for rows, many := range map[int64]bool{dataset.SheetRows: false, dataset.SheetRows + 1: true} {
		request := w.request(w.file("a.parquet", sayRows(t, parquetFile(t), rows)))
		for _, format := range []string{"", "csv", "xlsx"} {
			request.Output.Format = format
			if told(request) != (many && format == "xlsx") {
				t.Errorf("the check of %d rows as %q: %t", rows, format, !many)
			}
		}
		if many {
			_, err := w.service.Submit(t.Context(), request)
			refused(err)
			if keys := w.keys("jobs/"); len(keys) > 0 {
				t.Errorf("it has left %q", keys)
			}
			// In a folder, each shard is a file of its own.
			request.Output.URI = "file://" + w.in + "/out"
			if told(request) {
				t.Error("each part fits")
			}
		}
	}
}

// Where only the plan knows how many rows there are, no shard runs.
func TestAPlanOfMoreRowsThanASheetHolds(t *testing.T) {
	w := newWorld(t, nil)
	w.config.PlanHere = 1
	w.platform.full = make(chan struct{}) // no task starts
	w.start()
	request := w.request(w.file("a.csv", csv(3, nil)))
	request.Output.Format = "xlsx"
	job := w.submit(request)
	r, err := w.service.record(t.Context(), job.ID)
	if err != nil {
		t.Fatal(err)
	}
	made := plan{Plan: shard.Plan{Input: modelmanager.JobInput{Format: "csv"}, Shards: []shard.Shard{
		{Slice: dataset.Slice{Rows: dataset.SheetRows}}, {Slice: dataset.Slice{Index: 1, Rows: 1}},
	}}}
	if _, err := w.service.keepPlan(t.Context(), w.service.track(r), &made); err != nil {
		t.Fatal(err)
	}
	close(w.platform.full)
	job = w.wait(job.ID)
	if job.State != modelmanager.JobFailed || job.Code != modelmanager.CodeTooLarge || !strings.Contains(job.Reason, "1048576 rows") || job.Rows.Read != 0 {
		t.Errorf("%+v", job)
	}
	w.platform.mu.Lock()
	defer w.platform.mu.Unlock()
	if w.platform.steps[job.ID+"shards"] != nil {
		t.Error("shards have run")
	}
}

// A table of more rejected rows, or a result in parts, isn't begun as a workbook.
func TestAWorkbookThatCannotBeIsNotBegun(t *testing.T) {
	w := newWorld(t, nil)
	request := w.request(w.file("a.csv", csv(3, map[int]string{2: "much"})))
	request.MaxRejected, request.Output.Format = "1", "xlsx"
	job := w.run(request)
	m, err := w.service.manifest(t.Context(), job.ID)
	if err != nil || m == nil {
		t.Fatal(m, err)
	}
	m.Rows = modelmanager.JobRows{Read: 2 * (dataset.SheetRows + 1), Predicted: dataset.SheetRows + 1, Rejected: dataset.SheetRows + 1}
	if err := w.bucket.Delete(t.Context(), manifestKey(job.ID)); err != nil {
		t.Fatal(err)
	}
	if err := w.service.create(t.Context(), manifestKey(job.ID), m); err != nil {
		t.Fatal(err)
	}
	for name, write := range map[string]func(context.Context, string, io.Writer) error{
		"output": w.service.Output,
		"rejected": func(ctx context.Context, id string, out io.Writer) error {
			return w.service.RejectedTable(ctx, id, "xlsx", out)
		},
	} {
		var b bytes.Buffer
		if err := write(t.Context(), job.ID, &b); modelmanager.CodeOf(err) != modelmanager.CodeTooLarge || b.Len() > 0 {
			t.Errorf("%s: %v, %d bytes", name, err, b.Len())
		}
	}
	if err := w.service.RejectedTable(t.Context(), job.ID, "csv", io.Discard); err != nil {
		t.Error(err)
	}
}
