package worker

import (
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"modelmanager.dev/internal/wording"
)

// maxReason bounds a sentence that holds words of the worker's.
const maxReason = 500

// ended says in half a sentence how a process ended.
func ended(status syscall.WaitStatus) string {
	switch {
	case status.Signaled():
		return "was killed by " + signalName(status.Signal())
	case status.ExitStatus() == 0:
		return "ended by itself (exit code 0)"
	default:
		return fmt.Sprintf("exited with code %d", status.ExitStatus())
	}
}

func signalName(signal syscall.Signal) string {
	if name := unix.SignalName(signal); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", signal)
}

// deathReason says why a process is dead: what the agent killed it for, or
// else how it ended and what it said last.
func (p *process) deathReason() string {
	p.killMu.Lock()
	killed := p.killReason
	p.killMu.Unlock()
	if killed != "" {
		return killed
	}
	reason := "the worker " + ended(p.status)
	if last := lastWords(p.log.freshLines(30)); last != "" {
		reason += ": " + last
	}
	return reason
}

// lastWords returns the line of a worker's last output that says what went
// wrong: of a Python traceback or an R error the message, else the last line.
func lastWords(lines []string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		line := strings.TrimSpace(lines[i])
		switch {
		case strings.HasPrefix(line, "[") || strings.HasPrefix(line, "at ") || line == "Execution halted" || strings.HasPrefix(line, "Calls:"):
			continue // ours, Java's stack, R's farewell
		case strings.HasPrefix(line, "Fatal Python error"), strings.HasPrefix(line, "panic:"), strings.HasPrefix(line, "Exception in thread"):
			return clip(line)
		}
	}
	for i := len(lines) - 1; i >= 0; i-- {
		line := strings.TrimSpace(lines[i])
		if strings.HasPrefix(line, "at ") || line == "Execution halted" || strings.HasPrefix(line, "Calls:") {
			continue
		}
		return clip(line)
	}
	return ""
}

// clip bounds words of the worker's, and makes them fit on one line.
func clip(text string) string {
	return wording.Shorten(strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " "), maxReason)
}

// bytesText writes a size as model.yaml does: 512Mi.
func bytesText(n int64) string {
	switch {
	case n >= 1<<30 && n%(1<<30) == 0:
		return fmt.Sprintf("%dGi", n>>30)
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%dMi", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%dKi", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
