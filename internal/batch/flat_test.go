package batch

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/storage"
)

// wide makes n rows of 32 numbers; the first, x, is the row's number.
func wide(n int) []byte {
	var b bytes.Buffer
	b.WriteString("x")
	for c := range 31 {
		fmt.Fprintf(&b, ",f%d", c)
	}
	for i := range n {
		fmt.Fprintf(&b, "\n%d", i+1)
		for c := range 31 {
			fmt.Fprintf(&b, ",%d.25", i%1000+c)
		}
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// wideWorld runs jobs over wide files, in a store of files.
func wideWorld(t *testing.T, run spec.Run, rows spec.Rows) *world {
	t.Helper()
	w := newWorld(t, func(s *spec.Spec) {
		for c := range 31 {
			s.Features = append(s.Features, modelmanager.Field{Name: fmt.Sprintf("f%d", c), Type: modelmanager.Number})
		}
		s.Run, s.Rows, s.Batch.RowsPerCall = run, rows, 10_000
	})
	bucket, err := storage.Open(t.Context(), "file://"+t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w.bucket, w.config.Bucket, w.config.Uploads = bucket, bucket, storage.NewUploads(bucket)
	w.start()
	return w
}

// workerOptions are those of the world's version, in a folder of its own.
func (w *world) workerOptions() worker.Options {
	w.t.Helper()
	parsed, err := spec.FromCanonical(w.version.Spec)
	if err != nil {
		w.t.Fatal(err)
	}
	features, err := dataset.Compile(parsed.Features)
	if err != nil {
		w.t.Fatal(err)
	}
	predictions, err := dataset.Compile(parsed.Predictions)
	if err != nil {
		w.t.Fatal(err)
	}
	return worker.Options{Model: parsed.Name, Version: 3, Spec: parsed, Features: features, Predictions: predictions, Dir: w.t.TempDir(), RunDir: w.t.TempDir()}
}

// peak is the most that is alive of this process's memory while something runs.
func peak(during func()) int64 {
	runtime.GC()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	most := uint64(0)
	done, sampled := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(sampled)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			metrics.Read(live)
			most = max(most, live[0].Value.Uint64())
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	during()
	close(done)
	<-sampled
	return int64(most)
}

// TestFilesDontPassThroughMemory: a model that sees a whole file has it on
// disk. Four times the rows take no more of the agent's memory.
func TestFilesDontPassThroughMemory(t *testing.T) {
	command := []string{"sh", "-c", `awk -F, 'NR==1 {print "y"} NR>1 {print 2*$1}' "$MM_INPUT" > "$MM_OUTPUT"`}
	w := wideWorld(t, spec.Run{Job: &spec.Job{Command: command}}, spec.Independent)
	w.platform.predictor = func() worker.Predictor { return worker.NewJob(w.workerOptions()) }
	const few, many = 100_000, 400_000
	took := map[int]int64{}
	for _, n := range []int{few, many} {
		data := wide(n)
		size := len(data)
		request := w.request(w.file(fmt.Sprintf("%d.csv", n), data))
		data = nil
		var job modelmanager.Job
		took[n] = peak(func() { job = w.run(request) })
		if job.State != modelmanager.JobSucceeded || job.Rows.Predicted != int64(n) || job.Shards.Total != 1 {
			t.Fatalf("%+v", job)
		}
		t.Logf("%d rows, %d MiB: at most %d MiB are alive", n, size>>20, took[n]>>20)
		last := w.lastLine(job.ID)
		if want := fmt.Sprint(2 * n); !strings.HasSuffix(last, ","+want) || !strings.HasPrefix(last, fmt.Sprint(n, ",")) {
			t.Errorf("the last row is %q", last)
		}
	}
	if took[many] > took[few]+20<<20 {
		t.Errorf("%d rows take %d MiB, %d take %d MiB", few, took[few]>>20, many, took[many]>>20)
	}
}

// lastLine returns the last line of a job's output.
func (w *world) lastLine(id string) string {
	w.t.Helper()
	path := w.t.TempDir() + "/out.csv"
	file, err := os.Create(path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer file.Close()
	if err := w.service.Output(w.t.Context(), id, file); err != nil {
		w.t.Fatal(err)
	}
	info, err := file.Stat()
	if err != nil {
		w.t.Fatal(err)
	}
	end := make([]byte, min(info.Size(), 4<<10))
	if _, err := file.ReadAt(end, info.Size()-int64(len(end))); err != nil {
		w.t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(end)), "\n")
	return lines[len(lines)-1]
}

// TestACommandsFileAndItsRows: rejected rows are passed over, answers that are
// wrong reject their rows, and too many or too few fail the job.
func TestACommandsFileAndItsRows(t *testing.T) {
	run := func(t *testing.T, program string, rows int, bad map[int]string) (*world, modelmanager.Job) {
		t.Helper()
		command := spec.Run{Job: &spec.Job{Command: []string{"sh", "-c", program}}}
		w := newWorld(t, func(s *spec.Spec) { s.Run = command })
		w.platform.predictor = func() worker.Predictor { return worker.NewJob(w.workerOptions()) }
		request := w.request(w.file("a.csv", csv(rows, bad)))
		request.MaxRejected = "5"
		return w, w.run(request)
	}
	t.Run("some are rejected", func(t *testing.T) {
		w, job := run(t, `awk 'NR==1 {print "y"} NR>1 {print $1==90 ? "much" : 2*$1}' "$MM_INPUT" > "$MM_OUTPUT"`, 250, map[int]string{3: "x", 77: ""})
		if job.State != modelmanager.JobSucceeded || job.Rows.Predicted != 247 {
			t.Fatalf("%+v", job)
		}
		var rows []int64
		for _, r := range w.rejected(job.ID) {
			rows = append(rows, r.Row)
		}
		if fmt.Sprint(rows) != "[3 77 90]" {
			t.Errorf("the rows %v are rejected", rows)
		}
		if last := w.lastLine(job.ID); last != "row-250,250,500" {
			t.Errorf("the last row is %q", last)
		}
	})
	for name, program := range map[string]string{
		"one too many": `awk 'NR==1 {print "y"} NR>1 {print 2*$1} END {print 1}' "$MM_INPUT" > "$MM_OUTPUT"`,
		"one too few":  `awk 'NR==1 {print "y"} NR>2 {print 2*$1}' "$MM_INPUT" > "$MM_OUTPUT"`,
		"a pipe":       `mkfifo "$MM_OUTPUT"`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, job := run(t, program, 250, nil); job.State != modelmanager.JobFailed ||
				job.Code != modelmanager.CodeInvalidPredictions && job.Code != modelmanager.CodeModelError {
				t.Fatalf("%+v", job)
			}
		})
	}
	t.Run("no rows", func(t *testing.T) {
		if _, job := run(t, "exit 1", 0, nil); job.State != modelmanager.JobSucceeded {
			t.Fatalf("%+v", job)
		}
	})
}
