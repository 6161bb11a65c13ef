package worker

import (
	"sync"

	"modelmanager.dev/internal/proc"
)

// family knows the processes that came out of a worker's own: those of its
// group, and the descendants that left it.
//
// To find them all is to read /proc from end to end, which on a machine with
// hundreds of processes takes milliseconds, and every worker's agent does it. So
// most looks start from those that are known, and follow who started whom. What
// they miss, a process of the group whose parent has gone, a wide look finds.
type family struct {
	mu    sync.Mutex
	known map[int]string // when each process started, by pid
}

// members returns the live processes of the worker with a pid; none if it is 0.
func (f *family) members(root int, wide bool) []proc.Stat {
	if root == 0 {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var members []proc.Stat
	if !wide {
		var ok bool
		members, ok = f.near(root)
		wide = !ok
	}
	if wide {
		members = everywhere(root)
	}
	f.known = make(map[int]string, len(members))
	for _, member := range members {
		f.known[member.PID] = member.Started
	}
	return members
}

// near looks at what is known, and at all that has come out of it. It is not ok
// where nothing was looked for yet, or the kernel doesn't tell who started whom.
func (f *family) near(root int) ([]proc.Stat, bool) {
	if f.known == nil {
		return nil, false
	}
	var members []proc.Stat
	seen, next := map[int]bool{}, []int{root}
	for pid := range f.known {
		next = append(next, pid)
	}
	for len(next) > 0 {
		pid := next[len(next)-1]
		next = next[:len(next)-1]
		if seen[pid] {
			continue
		}
		seen[pid] = true
		member, alive := proc.Read(pid)
		if started, known := f.known[pid]; !alive || known && started != member.Started {
			continue
		}
		members = append(members, member)
		started, ok := proc.Children(pid)
		if !ok {
			return nil, false
		}
		next = append(next, started...)
	}
	return members, true
}

// everywhere looks through all processes of the machine.
func everywhere(root int) []proc.Stat {
	all := proc.All()
	in := map[int]bool{root: true}
	var members []proc.Stat
	for grown := true; grown; {
		grown = false
		for i, s := range all {
			if s.PID != 0 && (in[s.PID] || in[s.Parent] || s.Group == root) {
				in[s.PID] = true
				members = append(members, s)
				all[i].PID, all[i].Group, all[i].Parent = 0, 0, -1
				grown = true
			}
		}
	}
	return members
}

// marked returns the live processes that have the marker in their environment.
func marked(marker string) []int {
	var found []int
	for _, pid := range proc.List() {
		if proc.HasVariable(pid, func(name, value string) bool { return name == markerVariable && value == marker }) {
			found = append(found, pid)
		}
	}
	return found
}
