package fault

import (
	"bufio"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// TestMemoryIsFlat runs a job over a file, and over one ten times as large: the
// server and its agents need no more memory for it.
func TestMemoryIsFlat(t *testing.T) {
	small, large := jobMemory(t, 30<<20), jobMemory(t, 300<<20)
	t.Logf("peak of the server and its agents: %d MiB for 30 MiB, %d MiB for 300 MiB", small>>20, large>>20)
	if bound := small*3/2 + 64<<20; large > bound {
		t.Errorf("a job over 300 MiB took %d MiB, one over 30 MiB %d MiB; it may take %d MiB", large>>20, small>>20, bound>>20)
	}
}

// jobMemory runs a job over a CSV of some size, on a server of its own, and
// returns the most memory that the server had, and its hungriest agents.
func jobMemory(t *testing.T, size int) int64 {
	t.Helper()
	s := startServer(t, "--job-slots", "1")
	s.publish("models/good", func(s *spec.Spec) { s.Serve = []modelmanager.Mode{modelmanager.Batch} })
	input, n := wide(size)
	job := s.submit(t, "good", input, "0")
	var agents int64
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				for _, p := range s.agents() {
					agents = max(agents, residentPeak(p.pid))
				}
			case <-stop:
				return
			}
		}
	})
	job = s.finished(t, job.ID, 120*time.Second)
	close(stop)
	watching.Wait()
	if job.State != modelmanager.JobSucceeded || job.Rows.Predicted != int64(n) {
		t.Fatalf("the job is %s (%s): %+v, of %d rows", job.State, job.Reason, job.Rows, n)
	}
	output, err := s.client.JobOutput(t.Context(), job.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	if read, err := io.Copy(io.Discard, output); err != nil || read < int64(size) {
		t.Errorf("the output has %d bytes (%v)", read, err)
	}
	if agents == 0 {
		t.Fatal("no agent was seen")
	}
	server := residentPeak(s.running.PID())
	t.Logf("%d MiB, %d rows: the server had %d MiB, an agent %d MiB", size>>20, n, server>>20, agents>>20)
	return server + agents
}

// wide is a CSV of about size bytes, with few features and much else, as it is
// written; and its number of rows.
func wide(size int) (io.Reader, int) {
	const note = "a column that the model knows nothing of, and that comes out again as it went in; "
	row := len("1000000,1000000,") + 12*len(note) + 1
	n := size / row
	reader, writer := io.Pipe()
	go func() {
		w := bufio.NewWriterSize(writer, 1<<20)
		fmt.Fprintln(w, "id,x,note")
		for i := range n {
			fmt.Fprintf(w, "%d,%d,\"", i+1_000_000, i+1_000_000)
			for range 12 {
				w.WriteString(note)
			}
			w.WriteString("\"\n")
		}
		writer.CloseWithError(w.Flush())
	}()
	return reader, n
}
