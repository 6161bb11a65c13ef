package worker

import "sync"

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
func (f *family) members(root int, wide bool) []stat {
	if root == 0 {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var members []stat
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
		f.known[member.pid] = member.started
	}
	return members
}

// near looks at what is known, and at all that has come out of it. It is not ok
// where nothing was looked for yet, or the kernel doesn't tell who started whom.
func (f *family) near(root int) ([]stat, bool) {
	if f.known == nil {
		return nil, false
	}
	var members []stat
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
		member, alive := readStat(pid)
		if started, known := f.known[pid]; !alive || known && started != member.started {
			continue
		}
		members = append(members, member)
		started, ok := children(pid)
		if !ok {
			return nil, false
		}
		next = append(next, started...)
	}
	return members, true
}

// everywhere looks through all processes of the machine.
func everywhere(root int) []stat {
	var all []stat
	for _, pid := range pids() {
		if s, ok := readStat(pid); ok {
			all = append(all, s)
		}
	}
	in := map[int]bool{root: true}
	var members []stat
	for grown := true; grown; {
		grown = false
		for i, s := range all {
			if s.pid != 0 && (in[s.pid] || in[s.parent] || s.group == root) {
				in[s.pid] = true
				members = append(members, s)
				all[i].pid, all[i].group, all[i].parent = 0, 0, -1
				grown = true
			}
		}
	}
	return members
}
