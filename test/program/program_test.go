package program_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"modelmanager.dev/test/program"
)

// starts starts what stands in for mm: a script with its arguments before it.
func starts(t *testing.T, script string) (*program.Server, error) {
	t.Helper()
	dir := t.TempDir()
	mm := filepath.Join(dir, "mm")
	if err := os.WriteFile(mm, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return program.Start(context.Background(), program.Options{MM: mm, Data: dir, Log: filepath.Join(dir, "log")})
}

func TestAServerThatEndsSaysWhy(t *testing.T) {
	_, err := starts(t, "echo its port is taken; exit 3\n")
	if err == nil || !strings.Contains(err.Error(), "its port is taken") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("%v", err)
	}
}

func TestAServerIsStopped(t *testing.T) {
	s, err := starts(t, `trap 'kill $!; exit 5' TERM
echo "it listens on http://127.0.0.1:7 and keeps its data"
echo "warning: models/bad is not published: it is bad"
sleep 3600 & wait
`)
	if err != nil {
		t.Fatal(err)
	}
	if s.URL != "http://127.0.0.1:7" || s.Address() != "127.0.0.1:7" {
		t.Errorf("it listens on %s", s.URL)
	}
	if err := s.Published(t.Context()); err == nil || !strings.Contains(err.Error(), "it is bad") {
		t.Errorf("publishing a bad model: %v", err)
	}
	if err := s.Stop(syscall.SIGTERM); err != nil || s.ExitCode() != 5 {
		t.Errorf("it ended with %d, %v", s.ExitCode(), err)
	}
	<-s.Ended()
	if err := s.Stop(syscall.SIGTERM); err != nil {
		t.Errorf("stopping it again: %v", err)
	}
}
