package local

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"modelmanager.dev/internal/platform"
)

// Bounds of logs: a file's size, of which the half before is kept as well; a
// line's length; and how many files a version keeps of agents that have ended.
const (
	logFileSize   = 1 << 20
	logLineLength = 8 << 10
	logFilesKept  = 20
)

// workerSuffix ends the name of a worker's own log, kept beside its agent's.
const workerSuffix = ".worker.log"

// logs are files of what agents write, in a folder per version. They outlive
// their agents: what a failed one has said is what people ask for.
type logs struct {
	dir string
	mu  sync.Mutex // held while old files are removed
}

func newLogs(dir string) *logs { return &logs{dir: dir} }

func (l *logs) folder(ref platform.Ref) string {
	return filepath.Join(l.dir, ref.Model, strconv.Itoa(ref.Version))
}

// logWriter writes one agent's log: each line with its time and the agent's
// id, in two files of bounded size.
type logWriter struct {
	id   string
	path string

	mu   sync.Mutex
	file *os.File
	size int
	line []byte
	last []byte // the last line that was not empty
}

// open starts a log.
func (l *logs) open(ref platform.Ref, id string) (*logWriter, error) {
	dir := l.folder(ref)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening a log: %w", err)
	}
	l.prune(dir)
	path := filepath.Join(dir, id+".log")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening a log: %w", err)
	}
	return &logWriter{id: id, path: path, file: file}, nil
}

// prune removes the oldest files.
func (l *logs) prune(dir string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	files := logFiles(dir)
	for len(files) > logFilesKept {
		_ = os.Remove(files[0].path) // the next one tries again
		files = files[1:]
	}
}

type logFile struct {
	path    string
	changed time.Time
}

// logFiles returns a folder's files, oldest first.
func logFiles(dir string) []logFile {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var files []logFile
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			files = append(files, logFile{filepath.Join(dir, entry.Name()), info.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b logFile) int { return cmp.Or(a.changed.Compare(b.changed), cmp.Compare(a.path, b.path)) })
	return files
}

// Write takes whatever an agent writes. It never fails: a full disk must not
// end a model.
func (w *logWriter) Write(data []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(data)
	for len(data) > 0 {
		i := bytes.IndexByte(data, '\n')
		part := data
		if i >= 0 {
			part = data[:i]
		}
		if room := logLineLength - len(w.line); room > 0 {
			w.line = append(w.line, part[:min(len(part), room)]...)
		}
		if i < 0 {
			break
		}
		w.flush()
		data = data[i+1:]
	}
	return n, nil
}

func (w *logWriter) flush() {
	line := bytes.TrimRight(w.line, "\r")
	w.line = w.line[:0]
	if text := bytes.TrimSpace(line); len(text) > 0 {
		w.last = append(w.last[:0], text...)
	}
	if w.file == nil {
		return
	}
	if w.size >= logFileSize {
		w.turn()
	}
	n, _ := fmt.Fprintf(w.file, "%s %s %s\n", time.Now().UTC().Format(logTime), w.id, line)
	w.size += n
}

// turn starts the file anew, and keeps the one before.
func (w *logWriter) turn() {
	_ = os.Rename(w.path, strings.TrimSuffix(w.path, ".log")+".1.log")
	file, err := os.OpenFile(w.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return // it goes on in the renamed one
	}
	_ = w.file.Close()
	w.file, w.size = file, 0
}

// lastLine returns the last line that says anything.
func (w *logWriter) lastLine() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.last)
}

func (w *logWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.line) > 0 {
		w.flush()
	}
	err := w.file.Close()
	w.file = nil
	return err
}

// keep moves a worker's own log, of an agent that has ended, beside its
// agent's.
func (l *logs) keep(ref platform.Ref, id, path string) {
	for _, older := range []string{".1", ""} {
		if info, err := os.Lstat(path + older); err == nil && info.Mode().IsRegular() {
			_ = os.Rename(path+older, filepath.Join(l.folder(ref), id+older+workerSuffix)) // logs are best effort
		}
	}
}
