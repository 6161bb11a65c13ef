package local

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"modelmanager.dev/internal/platform"
)

func tail(t *testing.T, l *logs, ref platform.Ref, lines int, live map[string]string) string {
	t.Helper()
	r, err := l.tail(ref, lines, live)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLogsAreBounded(t *testing.T) {
	l, ref := newLogs(t.TempDir()), platform.Ref{Model: "loud", Version: 3}
	w, err := l.open(ref, "loud-3-a")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 2*logLineLength)
	for i := range 3000 {
		fmt.Fprintf(w, "%d %s\nhalf of", i, long[:1000])
		fmt.Fprint(w, " a line\n")
	}
	fmt.Fprintf(w, "%s\r\nthe end", long)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, file := range logFiles(l.folder(ref)) {
		info, err := os.Stat(file.path)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > 2*logFileSize+4*logLineLength {
		t.Errorf("the logs take %d bytes", size)
	}
	lines := strings.Split(strings.TrimSpace(tail(t, l, ref, 3, nil)), "\n")
	if len(lines) != 3 || !strings.HasSuffix(lines[0], " loud-3-a half of a line") || !strings.HasSuffix(lines[2], " the end") {
		t.Errorf("the last lines are %.100q", lines)
	}
	if n := len(lines[1]); n > logLineLength+100 {
		t.Errorf("a line has %d bytes", n)
	}
	for i := range 3 * logFilesKept {
		w, err := l.open(ref, fmt.Sprintf("loud-3-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(logFiles(l.folder(ref))); n > logFilesKept+1 {
		t.Errorf("%d files are kept", n)
	}
}

// TestWorkerLogs has a worker's own log read while it runs and after, and
// whatever a hostile worker puts in its place left alone.
func TestWorkerLogs(t *testing.T) {
	l, ref, home := newLogs(t.TempDir()), platform.Ref{Model: "quiet", Version: 1}, t.TempDir()
	path := filepath.Join(home, "worker.log")
	if err := os.WriteFile(path, []byte("loading\nready\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	live := map[string]string{"quiet-1-a": path}
	if text := tail(t, l, ref, 10, live); strings.Count(text, "\n") != 2 || !strings.HasSuffix(text, "Z quiet-1-a ready\n") {
		t.Errorf("while it runs, the logs are %q", text)
	}
	w, err := l.open(ref, "quiet-1-a")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l.keep(ref, "quiet-1-a", path)
	if text := tail(t, l, ref, 1, nil); !strings.HasSuffix(text, "Z quiet-1-a ready\n") {
		t.Errorf("after its end, the logs are %q", text)
	}
	if err := os.Symlink("/etc/passwd", path); err != nil {
		t.Fatal(err)
	}
	l.keep(ref, "quiet-1-b", path)
	if text := tail(t, l, ref, 100, live); strings.Contains(text, "root:") {
		t.Error("a link out was followed")
	}
}
