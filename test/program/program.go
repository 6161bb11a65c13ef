// Package program builds the real mm, and runs its server, for tests and
// benchmarks of the whole.
package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"modelmanager.dev/internal/pause"
)

// Main is for a TestMain: it builds mm, says in *mm where it is, runs the
// tests, and returns their exit code. Nothing is left of the program.
func Main(m *testing.M, mm *string) (code int) {
	dir, err := os.MkdirTemp("", "mm-program-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if *mm, err = Build(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// Build builds mm into a folder, and returns its path.
func Build(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "mm")
	if output, err := exec.CommandContext(ctx, "go", "build", "-o", path, "modelmanager.dev/cmd/mm").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building mm: %w\n%s", err, output)
	}
	return path, nil
}

// Environments is where the environments of Python are made once, and kept
// between runs.
func Environments() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "modelmanager-test", "environments")
	return dir, os.MkdirAll(dir, 0o700)
}

// KeepEnvironments lets a server with this data folder, which is new, use them.
func KeepEnvironments(data string) error {
	environments, err := Environments()
	if err != nil {
		return err
	}
	return os.Symlink(environments, filepath.Join(data, "environments"))
}

// Options say how to start a Server.
type Options struct {
	MM     string   // the program
	Dir    string   // where it runs; default: here
	Data   string   // its data
	Log    string   // the file that it writes to, made anew
	Listen string   // default: a free port of 127.0.0.1
	Args   []string // more of them
	Env    []string // beside this process's
}

// Server is a running mm serve.
type Server struct {
	URL     string // http://127.0.0.1:8080
	log     string
	command *exec.Cmd
	ended   chan struct{}
}

// Times that a server may take, on a busy machine.
const (
	listenWithin = time.Minute
	endWithin    = 90 * time.Second
	lookEvery    = 20 * time.Millisecond
)

var listens = regexp.MustCompile(`listens on (http://\S+)`)

// Start starts a server, and waits until it listens. It has a process group of
// its own, and ends with ctx as by SIGTERM; who stops it waits for it.
func Start(ctx context.Context, o Options) (*Server, error) {
	log, err := os.Create(o.Log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	listen := o.Listen
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	command := exec.CommandContext(ctx, o.MM, append([]string{"serve", "--data", o.Data, "--listen", listen}, o.Args...)...)
	command.Dir = o.Dir
	command.Env = append(os.Environ(), o.Env...)
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = endWithin
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting the server: %w", err)
	}
	s := &Server{log: o.Log, command: command, ended: make(chan struct{})}
	go func() {
		_ = command.Wait() // ProcessState says how it ended
		close(s.ended)
	}()
	ctx, cancel := context.WithTimeout(ctx, listenWithin)
	defer cancel()
	found, err := s.await(ctx, listens)
	if err != nil {
		return nil, errors.Join(err, s.Stop(syscall.SIGTERM))
	}
	s.URL = found[1]
	return s, nil
}

var settled = regexp.MustCompile(`every model in .* is published|(.* is not published.*)`)

// Published waits until the models that the server follows are published, which
// may build their environments. It is an error if one can't be.
func (s *Server) Published(ctx context.Context) error {
	found, err := s.await(ctx, settled)
	if err == nil && found[1] != "" {
		err = errors.New(found[1])
	}
	return err
}

// await waits for a line of the log, and returns the pattern's groups.
func (s *Server) await(ctx context.Context, pattern *regexp.Regexp) ([]string, error) {
	for {
		over := s.over()
		if found := pattern.FindStringSubmatch(s.Log()); found != nil {
			return found, nil
		}
		if over {
			return nil, fmt.Errorf("the server ended (%s):\n%s", s.command.ProcessState, s.Log())
		}
		if !pause.For(ctx, lookEvery) {
			return nil, fmt.Errorf("waiting for the server to say %q: %w:\n%s", pattern, ctx.Err(), s.Log())
		}
	}
}

func (s *Server) over() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// Log is what the server has written.
func (s *Server) Log() string {
	text, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Address is where the server listens, host:port.
func (s *Server) Address() string { return strings.TrimPrefix(s.URL, "http://") }

// PID is the server's process.
func (s *Server) PID() int { return s.command.Process.Pid }

// Ended is closed when the server has ended.
func (s *Server) Ended() <-chan struct{} { return s.ended }

// ExitCode is that of a server that has ended; -1 of one that a signal ended.
func (s *Server) ExitCode() int { return s.command.ProcessState.ExitCode() }

// Stop ends the server, with SIGTERM as an operator does, SIGINT as Ctrl-C, or
// SIGKILL as a crash, and waits for its end. One that doesn't end is killed,
// and an error.
func (s *Server) Stop(signal syscall.Signal) error {
	if err := s.command.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending the server: %w", err)
	}
	timer := time.NewTimer(endWithin)
	defer timer.Stop()
	select {
	case <-s.ended:
		return nil
	case <-timer.C:
		_ = s.command.Process.Kill()
		<-s.ended
		return fmt.Errorf("the server did not end within %s of signal %v", endWithin, signal)
	}
}
