package main

import (
	"bytes"
	"errors"
	"log/slog"
	"regexp"
	"testing"
)

func TestLogLinesReadWell(t *testing.T) {
	var out bytes.Buffer
	logger := slog.New(newLines(&out, slog.LevelInfo))
	logger.Info("published", "model", "iris", "version", 2)
	logger.With("model", "iris").WithGroup("job").Warn("it failed", "error", errors.New("line\nbreak \x1b[31m"), "rows", 3)
	logger.Debug("not shown")
	want := regexp.MustCompile(`^\d\d:\d\d:\d\d published model=iris version=2
\d\d:\d\d:\d\d WARN it failed model=iris job.error="line\\nbreak \\x1b\[31m" job.rows=3
$`)
	if !want.Match(out.Bytes()) {
		t.Errorf("got\n%s", out.String())
	}
}
