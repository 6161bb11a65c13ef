package worker

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// marked returns the live processes that have the marker in their environment.
func marked(marker string) []int {
	needle := []byte(markerVariable + "=" + marker)
	var found []int
	for _, pid := range pids() {
		directory := "/proc/" + strconv.Itoa(pid)
		environ, err := os.ReadFile(directory + "/environ")
		if err != nil || !hasVariable(environ, needle) {
			continue
		}
		found = append(found, pid) // a zombie's environ is empty
	}
	return found
}

func hasVariable(environ, variable []byte) bool {
	for entry := range bytes.SplitSeq(environ, []byte{0}) {
		if bytes.Equal(entry, variable) {
			return true
		}
	}
	return false
}

func pids() []int {
	directory, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer directory.Close()
	names, err := directory.Readdirnames(-1)
	if err != nil {
		return nil
	}
	list := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			list = append(list, pid)
		}
	}
	return list
}

// stat is what is needed of /proc/PID/stat.
type stat struct {
	pid, parent, group int
	state              byte
	resident           int64 // bytes
}

func readStat(pid int) (stat, bool) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return stat{}, false
	}
	// The name, in brackets, may hold anything; fields are counted after it.
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return stat{}, false
	}
	fields := bytes.Fields(data[end+1:])
	if len(fields) < 22 {
		return stat{}, false
	}
	parent, _ := strconv.Atoi(string(fields[1]))
	group, _ := strconv.Atoi(string(fields[2]))
	pages, _ := strconv.ParseInt(string(fields[21]), 10, 64)
	return stat{pid, parent, group, fields[0][0], pages * int64(os.Getpagesize())}, true
}

// proportional returns a process's share of resident memory, pages that are
// shared with others divided among them.
func proportional(pid int) (int64, bool) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(data) {
		if rest, ok := bytes.CutPrefix(line, []byte("Pss:")); ok {
			fields := bytes.Fields(rest)
			if len(fields) == 0 {
				return 0, false
			}
			kilobytes, err := strconv.ParseInt(string(fields[0]), 10, 64)
			return kilobytes << 10, err == nil
		}
	}
	return 0, false
}

// memoryPeriod is how often a worker's memory is looked at while it loads or
// has a call; an idle one is looked at once in idlePeriods. (To look is to read
// all of /proc, and a machine may have many idle workers.)
const (
	memoryPeriod = 100 * time.Millisecond
	idlePeriods  = 20
)

// watchMemory kills the process when its group holds more than limit bytes.
func (p *process) watchMemory(limit int64, reason string) {
	ticker := time.NewTicker(memoryPeriod)
	defer ticker.Stop()
	for period := 0; ; period++ {
		if !p.idle.Load() || period%idlePeriods == 0 {
			resident := p.groupMemory(limit)
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
func (p *process) groupMemory(limit int64) int64 {
	members := p.members()
	var sum int64
	for _, member := range members {
		sum += member.resident
	}
	if limit <= 0 || sum <= limit {
		return sum
	}
	var exact int64
	for _, member := range members {
		if pss, ok := proportional(member.pid); ok {
			exact += pss
		} else {
			exact += member.resident
		}
	}
	return exact
}

// members returns the processes of the worker's group, and the descendants
// that left it.
func (p *process) members() []stat {
	p.killMu.Lock()
	root := p.pid
	p.killMu.Unlock()
	if root == 0 {
		return nil
	}
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
