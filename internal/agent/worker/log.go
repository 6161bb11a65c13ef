package worker

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/time/rate"
)

// Bounds of what is kept of a worker's output. A worker that writes more than
// logRate loses the middle of it from the file, never from the tail.
const (
	logFileSize  = 4 << 20 // of the current file; one older file is kept beside it
	logRate      = 1 << 20 // bytes a second
	logBurst     = 4 << 20
	tailSize     = 16 << 10
	logDirectory = "log"
)

// Log takes what a worker writes to its standard output and error: the last
// lines in memory, for reasons, and a file of bounded size under the run
// directory. It never blocks the worker, and never fails it.
type Log struct {
	mu      sync.Mutex
	tail    []byte            // the last tailSize bytes, at most twice that
	fresh   int               // how much was written since the mark
	pipes   []syscall.RawConn // that workers write to
	some    []byte            // to read them with
	path    string
	file    *os.File
	size    int64
	limit   *rate.Limiter
	dropped int64
	shed    time.Time // when something was last dropped
	copy    io.Writer // or nil
}

// LogPath returns the path of the log of the worker in runDir; the one before
// is beside it, with ".1" appended.
func LogPath(runDir string) string { return filepath.Join(runDir, logDirectory, "worker.log") }

// newLog appends to the log in runDir, and to copy unless it is nil. Where the
// file can't be written, the lines are only kept in memory.
func newLog(runDir string, copy io.Writer) *Log {
	l := &Log{path: LogPath(runDir), limit: rate.NewLimiter(logRate, logBurst), copy: copy}
	if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
		return l
	}
	if file, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
		l.file = file
		if info, err := file.Stat(); err == nil {
			l.size = info.Size()
		}
	}
	return l
}

// Write never fails.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(p)
	return len(p), nil
}

func (l *Log) write(p []byte) {
	l.remember(p)
	if l.file == nil && l.copy == nil {
		return
	}
	if !l.limit.AllowN(time.Now(), len(p)) {
		l.dropped += int64(len(p))
		l.shed = time.Now()
		return
	}
	if l.dropped > 0 {
		l.append([]byte("\n[some output was dropped: more than 1 MiB a second]\n"))
		l.dropped = 0
	}
	l.append(p)
}

// follow makes a worker's pipe the log's. What it returns takes all that comes
// through it, until its end, or until its deadline has passed.
func (l *Log) follow(pipe *os.File) (takeAll func()) {
	raw, err := pipe.SyscallConn()
	if err != nil {
		return func() {}
	}
	l.mu.Lock()
	l.pipes = append(l.pipes, raw)
	l.mu.Unlock()
	return func() {
		for open := true; open; {
			err := raw.Read(func(fd uintptr) bool {
				l.mu.Lock()
				defer l.mu.Unlock()
				var n int
				n, open = l.take(int(fd))
				return n > 0 || !open
			})
			open = open && err == nil
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.pipes = slices.DeleteFunc(l.pipes, func(r syscall.RawConn) bool { return r == raw })
	}
}

// take reads what is in a pipe now, up to some of it; open is false at its end.
func (l *Log) take(fd int) (n int, open bool) {
	if l.some == nil {
		l.some = make([]byte, 32<<10)
	}
	for {
		n, err := syscall.Read(fd, l.some)
		switch {
		case n > 0:
			l.write(l.some[:n])
			return n, true
		case err == syscall.EINTR:
		default:
			return 0, err == syscall.EAGAIN
		}
	}
}

func (l *Log) append(p []byte) {
	if l.copy != nil {
		_, _ = l.copy.Write(p) // a log that can't be written must not fail the worker
	}
	if l.file == nil {
		return
	}
	if l.size+int64(len(p)) > logFileSize {
		l.rotate()
	}
	if l.file != nil {
		n, _ := l.file.Write(p)
		l.size += int64(n)
	}
}

func (l *Log) rotate() {
	l.file.Close()
	l.file, l.size = nil, 0
	if err := os.Rename(l.path, l.path+".1"); err != nil {
		return
	}
	if file, err := os.OpenFile(l.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err == nil {
		l.file = file
	}
}

func (l *Log) remember(p []byte) {
	l.fresh += len(p)
	if len(p) >= tailSize {
		l.tail = append(l.tail[:0], p[len(p)-tailSize:]...)
		return
	}
	if len(l.tail)+len(p) > 2*tailSize {
		l.tail = append(l.tail[:0], l.tail[len(l.tail)-tailSize:]...)
	}
	l.tail = append(l.tail, p...)
}

// flooded tells whether some of what was written lately was dropped.
func (l *Log) flooded(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.shed.IsZero() && now.Sub(l.shed) < recentTime
}

// mark makes reasons come only from what is written after it: what a worker has
// written before may be in its pipe still.
func (l *Log) mark() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, pipe := range l.pipes {
		_ = pipe.Control(func(fd uintptr) {
			for range pipeReads {
				if n, _ := l.take(int(fd)); n == 0 {
					return
				}
			}
		})
	}
	l.fresh = 0
}

// pipeReads are enough for a full pipe, which holds 64 KiB, and not for one that
// is filled for ever.
const pipeReads = 4

// Lines returns the last n lines that aren't empty, oldest first.
func (l *Log) Lines(n int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return lastLines(l.tail, n)
}

// freshLines is Lines of what was written since the mark.
func (l *Log) freshLines(n int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return lastLines(l.tail[max(0, len(l.tail)-l.fresh):], n)
}

func lastLines(data []byte, n int) []string {
	text := string(bytes.ToValidUTF8(data, []byte("?")))
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, " \r\n\t"); line != "" {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-n):]
}

// Close closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
