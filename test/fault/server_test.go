// Package fault runs the real program, its agents and real interpreters with
// models that are bad in every way, and with processes killed in the middle of
// their work.
package fault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/client"
	"modelmanager.dev/internal/pipeline"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/test/program"
)

// mm is the program that is tested.
var mm string

func TestMain(m *testing.M) { os.Exit(program.Main(m, &mm)) }

// server is a running mm serve with a data folder of its own.
type server struct {
	t       *testing.T
	data    string
	log     string
	flags   []string
	address string // host:port, kept over restarts
	client  *client.Client
	running *program.Server
}

// startServer starts a server. When the test ends it is stopped, and nothing
// of it, nor of its models, may be left.
func startServer(t *testing.T, flags ...string) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{t: t, data: filepath.Join(dir, "data"), log: filepath.Join(dir, "server.log"), flags: flags, address: "127.0.0.1:0"}
	s.start()
	t.Cleanup(func() {
		s.stop(syscall.SIGTERM)
		s.nothingLeft()
		if t.Failed() {
			t.Logf("the end of the server's log:\n%s", s.lastLog())
		}
	})
	return s
}

// start starts the server's program, and waits until it is ready.
func (s *server) start() {
	s.t.Helper()
	var err error
	// Not with the test's context, which ends before what is cleaned up then.
	s.running, err = program.Start(context.Background(), program.Options{MM: mm, Data: s.data, Log: s.log, Listen: s.address, Args: s.flags})
	if err != nil {
		s.t.Fatal(err)
	}
	s.address = s.running.Address()
	if s.client, err = client.New(s.running.URL); err != nil {
		s.t.Fatal(err)
	}
	await(s.t, 60*time.Second, "the server is ready", func() error {
		_, err := s.client.Models(s.t.Context(), client.ModelQuery{})
		return err
	})
}

// stop ends the server: SIGTERM as an operator does, SIGKILL as a crash does.
func (s *server) stop(signal syscall.Signal) {
	s.t.Helper()
	if err := s.running.Stop(signal); err != nil {
		s.t.Error(err)
	}
}

func (s *server) lastLog() string {
	text := s.running.Log()
	return text[max(0, len(text)-6000):]
}

// mm runs the command line against the server, and returns what it prints.
func (s *server) mm(args ...string) (output string, exitCode int) {
	s.t.Helper()
	command := exec.CommandContext(s.t.Context(), mm, args...)
	command.Env = append(os.Environ(), "MM_SERVER=http://"+s.address, "XDG_CACHE_HOME="+filepath.Join(s.data, "cache"))
	text, err := command.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return string(text), command.ProcessState.ExitCode()
}

// publish publishes a model's folder as it is, without validating it: what a
// server must bear has not always passed a validation.
func (s *server) publish(dir string, changes ...func(*spec.Spec)) modelmanager.PublishResult {
	s.t.Helper()
	folder, err := spec.LoadFolder(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, change := range changes {
		change(folder.Spec)
	}
	prepared, err := pipeline.Prepare(s.t.Context(), folder, pipeline.Options{Scratch: s.t.TempDir()})
	if err != nil {
		s.t.Fatal(err)
	}
	defer prepared.Close()
	result, err := pipeline.Publish(s.t.Context(), prepared, s.client, pipeline.Publication{})
	if err != nil {
		s.t.Fatalf("publishing %s: %v", dir, err)
	}
	return result
}

// fatal is an error that waiting doesn't mend.
type fatal struct{ error }

// await waits until check returns nil, at most for limit.
func await(t *testing.T, limit time.Duration, what string, check func() error) {
	t.Helper()
	// Not the test's own context, which has ended when its cleanups run.
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		var end fatal
		if errors.As(err, &end) {
			t.Fatalf("waiting until %s: %v", what, err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, limit, err)
		}
	}
}

// process is a process of a server, other than the server itself.
type process struct {
	pid     int
	command string
	environ map[string]string
}

// agent tells whether the process is an agent; the others are workers, or
// what those have started.
func (p process) agent() bool { return strings.Contains(p.command, " agent ") }

// zygote tells whether the process is one that workers are forked from: it is
// the server's own, and stays while that runs.
func (p process) zygote() bool {
	return strings.Contains(p.command, " --zygote ") && strings.Contains(p.environ["HOME"], "/run/zygote-")
}

// processes lists what runs with the data folder in its environment, its
// arguments or as its working directory.
func (s *server) processes() []process {
	names, err := os.ReadDir("/proc")
	if err != nil {
		s.t.Fatal(err)
	}
	var found []process
	for _, name := range names {
		pid, err := strconv.Atoi(name.Name())
		if err != nil || pid == s.running.PID() || pid == os.Getpid() {
			continue
		}
		dir := filepath.Join("/proc", name.Name())
		environ, _ := os.ReadFile(filepath.Join(dir, "environ"))
		arguments, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		folder, _ := os.Readlink(filepath.Join(dir, "cwd"))
		if len(arguments) == 0 { // a zombie, or the kernel's own
			continue
		}
		if !bytes.Contains(environ, []byte(s.data)) && !bytes.Contains(arguments, []byte(s.data)) && !strings.HasPrefix(folder, s.data) {
			continue
		}
		p := process{pid: pid, command: strings.ReplaceAll(string(arguments), "\x00", " "), environ: map[string]string{}}
		for variable := range strings.SplitSeq(string(environ), "\x00") {
			key, value, _ := strings.Cut(variable, "=")
			p.environ[key] = value
		}
		found = append(found, p)
	}
	return found
}

// nothingLeft checks that no process of the server is left. Those whose server
// was killed end by themselves, within a moment.
func (s *server) nothingLeft() {
	s.t.Helper()
	await(s.t, 20*time.Second, "no process is left", func() error {
		if left := s.processes(); len(left) > 0 {
			return fmt.Errorf("left: %+v", left)
		}
		return nil
	})
}
