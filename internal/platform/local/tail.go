package local

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"modelmanager.dev/internal/platform"
)

// logTime is how a line's time is written; its texts sort as times do.
const logTime = "2006-01-02T15:04:05.000Z"

// tailSize is how much of each file is read from its end.
const tailSize = 1 << 20

// logLine is one line, with the text of its time.
type logLine struct{ time, text string }

// tail returns the last lines of all a version's logs together, in the order
// of their times. A worker's own lines carry none: all of them have that of
// the last. live are the logs of workers that run, by their agent's id.
func (l *logs) tail(ref platform.Ref, lines int, live map[string]string) (io.ReadCloser, error) {
	var all []logLine
	for _, file := range logFiles(l.folder(ref)) {
		found, err := readLog(file.path)
		if err != nil {
			return nil, fmt.Errorf("reading the logs of %s: %w", ref, err)
		}
		all = append(all, found...)
	}
	for id, path := range live {
		found, err := readWorkerLog(path, id)
		if err != nil {
			return nil, fmt.Errorf("reading the logs of %s: %w", ref, err)
		}
		all = append(all, found...)
	}
	slices.SortStableFunc(all, func(a, b logLine) int { return strings.Compare(a.time, b.time) })
	var text bytes.Buffer
	for _, line := range all[max(0, len(all)-lines):] {
		text.WriteString(line.text + "\n")
	}
	return io.NopCloser(&text), nil
}

func readLog(path string) ([]logLine, error) {
	if name, ok := strings.CutSuffix(filepath.Base(path), workerSuffix); ok {
		return readWorkerLog(path, strings.TrimSuffix(name, ".1"))
	}
	text, _, err := readEnd(path)
	var list []logLine
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		list = append(list, logLine{line[:min(len(line), len(logTime))], line})
	}
	return list, err
}

func readWorkerLog(path, id string) ([]logLine, error) {
	text, changed, err := readEnd(path)
	at := changed.UTC().Format(logTime)
	var list []logLine
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		list = append(list, logLine{at, at + " " + id + " " + line[:min(len(line), logLineLength)]})
	}
	return list, err
}

// readEnd reads the last whole lines of a file; one that isn't there is empty.
// A worker may put anything in its log's place: only a plain file is read.
func readEnd(path string) (text string, changed time.Time, err error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ELOOP) {
		return "", time.Time{}, nil
	}
	if err != nil {
		return "", time.Time{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return "", time.Time{}, err
	}
	start := max(0, info.Size()-tailSize)
	data, err := io.ReadAll(io.NewSectionReader(file, start, tailSize))
	if start > 0 {
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	return strings.ToValidUTF8(string(data), "?"), info.ModTime(), err
}
