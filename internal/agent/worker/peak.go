package worker

import "modelmanager.dev/internal/proc"

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
	seen := max(p.peak.Load(), p.resident.Load())
	if pid := p.id(); pid != 0 {
		seen = max(seen, proc.HighWater(pid))
	}
	return seen
}
