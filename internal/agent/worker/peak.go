package worker

import (
	"bytes"
	"os"
	"strconv"
)

// Peak returns the most memory that the workers held so far, in bytes: the sum
// over a worker's processes as it was seen now and then, or what the kernel says
// of its first process, if that is more.
func (s *Supervisor) Peak() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		s.peak = max(s.peak, s.current.process.peakMemory())
	}
	return s.peak
}

// peakMemory returns the most that the process and its descendants held.
func (p *process) peakMemory() int64 {
	return max(p.peak.Load(), p.resident.Load(), highWater(p.id()))
}

// highWater returns the most resident memory that a process has had, 0 if that
// isn't known.
func highWater(pid int) int64 {
	if pid == 0 {
		return 0
	}
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(data) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			if fields := bytes.Fields(rest); len(fields) > 0 {
				kilobytes, _ := strconv.ParseInt(string(fields[0]), 10, 64)
				return kilobytes << 10
			}
		}
	}
	return 0
}
