// Package stores starts real servers of object storage for tests: S3, Google
// Cloud Storage and Azure Blob Storage, each on a free port of this machine
// with its data in a temporary folder.
package stores

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"modelmanager.dev/test/needs"
	"modelmanager.dev/test/stores/programs"
)

// Server is a running server.
type Server struct {
	t       testing.TB
	name    string
	start   func() []string // the arguments
	address string          // host:port
	log     *lockedBuffer

	command *exec.Cmd
	ended   chan struct{}
}

// startTimeout bounds how long a server may take to answer.
const startTimeout = 30 * time.Second

// run starts a server and waits until it answers; the end of the test ends it.
func run(t testing.TB, name string, arguments func(address string) []string) *Server {
	t.Helper()
	return runAt(t, "127.0.0.1", name, arguments)
}

func runAt(t testing.TB, host, name string, arguments func(address string) []string) *Server {
	t.Helper()
	address := freeAddress(t, host)
	s := &Server{t: t, name: name, address: address, log: new(lockedBuffer)}
	s.start = func() []string { return arguments(address) }
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Address is where the server listens, host:port.
func (s *Server) Address() string { return s.address }

// Log returns what the server has written.
func (s *Server) Log() string { return s.log.String() }

// Start starts the server, again if it was stopped, on the same port and data.
func (s *Server) Start() {
	s.t.Helper()
	command, err := programs.Command(s.name, s.start()...)
	if err != nil {
		needs.Skip(s.t, err)
	}
	command.Stdout, command.Stderr = s.log, s.log
	command.Dir = s.t.TempDir()
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = command.Wait()
	}()
	s.command, s.ended = command, ended
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !answers(ctx, s.address) {
		select {
		case <-ended:
			s.t.Fatalf("%s ended: %s", s.name, s.Log())
		case <-ctx.Done():
			s.Stop()
			s.t.Fatalf("%s doesn't answer: %s", s.name, s.Log())
		case <-ticker.C:
		}
	}
}

// Stop kills the server, as a crash would.
func (s *Server) Stop() {
	if s.command == nil {
		return
	}
	_ = s.command.Process.Kill()
	<-s.ended
	s.command = nil
}

func answers(ctx context.Context, address string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return true
}

func freeAddress(t testing.TB, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// setenv sets variables of the environment, and clears others with a prefix:
// what this machine's user has set must not reach a test.
func setenv(t testing.TB, prefixes []string, variables map[string]string) {
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		for _, prefix := range prefixes {
			if strings.HasPrefix(name, prefix) {
				t.Setenv(name, "")
				os.Unsetenv(name)
			}
		}
	}
	for name, value := range variables {
		t.Setenv(name, value)
	}
}

type lockedBuffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.data.Len() > 1<<20 {
		return len(p), nil
	}
	return b.data.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}
