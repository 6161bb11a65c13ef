package worker

import (
	"time"

	"modelmanager.dev/internal/proc"
)

// memoryPeriod is how often a worker's memory is looked at while it loads or
// has a call. Once in widePeriods all of the machine's processes are looked
// through for those of the worker, also while it is idle.
const (
	memoryPeriod = 100 * time.Millisecond
	widePeriods  = 20
)

// watchMemory kills the process when its group holds more than limit bytes.
func (p *process) watchMemory(limit int64, reason string) {
	ticker := time.NewTicker(memoryPeriod)
	defer ticker.Stop()
	for period := 0; ; period++ {
		wide := period%widePeriods == 0
		if wide || !p.idle.Load() {
			resident := p.groupMemory(limit, wide)
			p.resident.Store(resident)
			p.peak.Store(max(p.peak.Load(), resident))
			if limit > 0 && resident > limit {
				p.kill(reason)
				return
			}
		}
		select {
		case <-p.exited:
			return
		case <-ticker.C:
		}
	}
}

// groupMemory sums the resident memory of the worker and its descendants.
// Shared pages are counted once per process while that stays below the limit,
// which is cheap; above it, exactly.
func (p *process) groupMemory(limit int64, wide bool) int64 {
	members := p.family.members(p.id(), wide)
	var sum int64
	for _, member := range members {
		sum += member.Resident
	}
	p.note(members)
	if wide {
		p.look(members)
	}
	if limit <= 0 || sum <= limit {
		return sum
	}
	var exact int64
	for _, member := range members {
		if pss, ok := proc.Proportional(member.PID); ok {
			exact += pss
		} else {
			exact += member.Resident
		}
	}
	return exact
}

// note keeps the processor time that members have taken.
func (p *process) note(members []proc.Stat) {
	var taken time.Duration
	for _, member := range members {
		taken += member.CPU
	}
	for { // times of a process that has gone unseen are lost, never taken back
		before := p.cpu.Load()
		if now := int64(taken); now <= before || p.cpu.CompareAndSwap(before, now) {
			return
		}
	}
}

// cpuTime is the processor time of the worker and of all that it has started.
// Of a worker that has exited it is what was last seen.
func (p *process) cpuTime() time.Duration {
	if p.alive() {
		p.note(p.family.members(p.id(), false))
	}
	return time.Duration(p.cpu.Load())
}
