package worker

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"modelmanager.dev/internal/proc"
)

// oddities are what is odd about a worker, as it was last seen.
type oddities struct {
	strays  int  // processes that it started and that left its process group
	ignores bool // SIGTERM
}

// look notes what is odd about the process, whose members are given.
func (p *process) look(members []proc.Stat) {
	pid := p.id()
	if pid == 0 {
		return
	}
	odd := &oddities{ignores: proc.Ignores(pid, syscall.SIGTERM)}
	for _, member := range members {
		if member.PID != pid && member.Group != pid && !member.Zombie() {
			odd.strays++
		}
	}
	p.odd.Store(odd)
}

// remark says what is odd about a worker that is none the worse for it, in one
// sentence; "" if nothing is.
func (s *Supervisor) remark(now time.Time) string {
	var parts []string
	if s.log.flooded(now) {
		parts = append(parts, "it prints more than 1 MiB a second, and what is beyond that is not kept")
	}
	if s.current != nil {
		if odd := s.current.process.odd.Load(); odd != nil {
			switch odd.strays {
			case 0:
			case 1:
				parts = append(parts, "a process that it started has left its process group, and is ended with it all the same")
			default:
				parts = append(parts, fmt.Sprintf("%d processes that it started have left its process group, and are ended with it all the same", odd.strays))
			}
			if odd.ignores {
				parts = append(parts, "it ignores SIGTERM, so that it is killed when it has to end")
			}
		}
	}
	return strings.Join(parts, "; ")
}
