package pipeline

import (
	"os"
	"strings"

	"modelmanager.dev/internal/agent/worker"
)

// outputOf returns the last lines that a worker has written, which often say
// more than its error.
func outputOf(runDir, modelDir string) []string {
	data, err := os.ReadFile(worker.LogPath(runDir))
	if err != nil {
		return nil
	}
	return readable(string(data), modelDir)
}

// sayOutput tells a worker's last lines.
func (o Options) sayOutput(lines []string) {
	if len(lines) > 0 {
		o.say("the model's last output:\n  | %s", strings.Join(lines, "\n  | "))
	}
}

// outputLines is how many lines of a worker's output are told.
const outputLines = 20

// readable returns the last lines of a worker's output. Of Python's tracebacks
// it keeps the last, and of that the author's own frames, by the names that the
// author knows.
func readable(text, modelDir string) []string {
	if i := strings.LastIndex(text, "\nTraceback (most recent call last)"); i >= 0 {
		text = text[i:]
	}
	text = strings.ReplaceAll(strings.TrimSpace(text), modelDir+"/", "")
	if text == "" {
		return nil
	}
	var lines []string
	foreign := false // in a frame that isn't the author's
	for _, line := range strings.Split(text, "\n") {
		if frame, found := strings.CutPrefix(line, `  File "`); found {
			foreign = strings.Contains(frame, "/shim/worker.py\"") || strings.HasPrefix(frame, "<frozen ")
		} else if !strings.HasPrefix(line, "    ") {
			foreign = false
		}
		if !foreign {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-outputLines):]
}
