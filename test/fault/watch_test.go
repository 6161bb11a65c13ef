package fault

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/client"
)

// TestTheCommandLineOutlivesTheServer kills the server twice under a command
// that submits a job and waits, and one that watches it: each says once for each
// time that the connection is lost, and goes on to the job's end.
func TestTheCommandLineOutlivesTheServer(t *testing.T) {
	const n = 200_000
	s := startServer(t, "--job-slots", "1")
	s.publish("models/good", manyRows)
	dir := t.TempDir()
	input, output := filepath.Join(dir, "rows.csv"), filepath.Join(dir, "scored.csv")
	if err := os.WriteFile(input, []byte(numbers(n)), 0o600); err != nil {
		t.Fatal(err)
	}
	type running struct {
		command *exec.Cmd
		said    bytes.Buffer
	}
	run := func(args ...string) *running {
		r := &running{command: exec.CommandContext(t.Context(), mm, args...)}
		r.command.Env = append(os.Environ(), "MM_SERVER=http://"+s.address, "XDG_CACHE_HOME="+filepath.Join(dir, "cache"))
		r.command.Stderr = &r.said
		if err := r.command.Start(); err != nil {
			t.Fatal(err)
		}
		return r
	}
	submit := run("jobs", "submit", "good", "--input", input, "--wait", "--plain", "--output", output)
	var id string
	await(t, 60*time.Second, "the job is submitted", func() error {
		page, err := s.client.Jobs(t.Context(), client.JobQuery{Model: "good"})
		if err == nil && len(page.Jobs) == 0 {
			err = errors.New("there is none")
		}
		if err == nil {
			id = page.Jobs[0].ID
		}
		return err
	})
	watch := run("jobs", "watch", id)
	for _, rows := range []int64{20_000, 90_000} {
		if !s.read(t, id, rows) {
			t.Fatalf("the job ended before row %d", rows)
		}
		s.stop(syscall.SIGKILL)
		s.start()
	}
	for _, r := range []*running{submit, watch} {
		ended := make(chan error, 1)
		go func() { ended <- r.command.Wait() }()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("%v: %v: %s", r.command.Args[1:3], err, &r.said)
			}
		case <-time.After(120 * time.Second):
			_ = r.command.Process.Kill()
			t.Fatalf("%v doesn't end: %s", r.command.Args[1:3], &r.said)
		}
		if count := strings.Count(r.said.String(), "the connection to the server is lost"); count != 2 {
			t.Errorf("%v says %d times that it lost the server, which was killed twice: %s", r.command.Args[1:3], count, &r.said)
		}
	}
	data, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	if lines := bytes.Count(data, []byte("\n")); lines != n+1 {
		t.Errorf("the output has %d lines, not %d", lines, n+1)
	}
	if job, err := s.client.Job(t.Context(), id); err != nil || job.State != modelmanager.JobSucceeded || job.Rows.Predicted != n {
		t.Errorf("the job is %+v (%v)", job, err)
	}
}
