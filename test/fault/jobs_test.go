package fault

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
)

// submit starts a job over a CSV.
func (s *server) submit(t *testing.T, model string, input io.Reader, maxRejected string) modelmanager.Job {
	t.Helper()
	upload, err := s.client.Upload(t.Context(), "rows.csv", input)
	if err != nil {
		t.Fatalf("uploading rows for %s: %v", model, err)
	}
	job, err := s.client.SubmitJob(t.Context(), model, modelmanager.JobRequest{
		Input:       modelmanager.JobInput{Upload: upload.ID, Format: "csv"},
		Output:      modelmanager.JobOutput{Add: []string{}},
		MaxRejected: maxRejected,
	}, "")
	if err != nil {
		t.Fatalf("submitting a job to %s: %v", model, err)
	}
	return job
}

// finished waits for a job's end, over restarts of the server.
func (s *server) finished(t *testing.T, id string, limit time.Duration) modelmanager.Job {
	t.Helper()
	var job modelmanager.Job
	await(t, limit, "job "+id+" ends", func() error {
		var err error
		if job, err = s.client.Job(t.Context(), id); err == nil && !job.State.Final() {
			err = fmt.Errorf("it is %s: %+v, %+v", job.State, job.Rows, job.Shards)
		}
		return err
	})
	return job
}

// read waits until a job has read so many rows; false if it has ended before.
func (s *server) read(t *testing.T, id string, rows int64) bool {
	t.Helper()
	var job modelmanager.Job
	await(t, 60*time.Second, fmt.Sprintf("job %s has read %d rows", id, rows), func() error {
		var err error
		job, err = s.client.Job(t.Context(), id)
		if err == nil && job.Rows.Read < rows && !job.State.Final() {
			err = fmt.Errorf("it is %s: %+v", job.State, job.Rows)
		}
		return err
	})
	return !job.State.Final()
}

// numbers is a CSV of rows id,x with x = 0, 1, 2 …
func numbers(n int) string {
	var b strings.Builder
	b.WriteString("id,x\n")
	for i := range n {
		fmt.Fprintf(&b, "row-%d,%d\n", i, i)
	}
	return b.String()
}

// output reads a job's output of numbers: y by x, in the input's order.
func (s *server) output(t *testing.T, id string) (xs []int, ys map[int]float64) {
	t.Helper()
	stream, err := s.client.JobOutput(t.Context(), id)
	if err != nil {
		t.Fatalf("reading the output of %s: %v", id, err)
	}
	defer stream.Close()
	rows := csv.NewReader(bufio.NewReader(stream))
	rows.ReuseRecord = true
	if header, err := rows.Read(); err != nil || strings.Join(header, ",") != "id,x,y" {
		t.Fatalf("the output's header is %q (%v)", header, err)
	}
	ys = map[int]float64{}
	for {
		row, err := rows.Read()
		if err == io.EOF {
			return xs, ys
		}
		if err != nil {
			t.Fatalf("reading the output of %s: %v", id, err)
		}
		x, err := strconv.Atoi(row[1])
		y, err2 := strconv.ParseFloat(row[2], 64)
		if err != nil || err2 != nil || row[0] != fmt.Sprintf("row-%d", x) {
			t.Fatalf("row %d of the output is %q", len(xs)+1, row)
		}
		xs = append(xs, x)
		ys[x] = y
	}
}

// rejected reads why rows were rejected, by row number.
func (s *server) rejected(t *testing.T, id string) map[int64]string {
	t.Helper()
	stream, err := s.client.JobRejected(t.Context(), id)
	if err != nil {
		t.Fatalf("reading the rejected rows of %s: %v", id, err)
	}
	defer stream.Close()
	reasons := map[int64]string{}
	lines := json.NewDecoder(stream)
	for {
		var line struct {
			Row     int64
			Message string
		}
		if err := lines.Decode(&line); err == io.EOF {
			return reasons
		} else if err != nil {
			t.Fatalf("reading the rejected rows of %s: %v", id, err)
		}
		reasons[line.Row] = line.Message
	}
}
