// Package proc reads what Linux tells of processes in /proc. Where there is no
// /proc nothing is found, and a process that ends while it is looked at has
// gone: nothing here fails.
package proc

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Stat is what is needed of /proc/PID/stat.
type Stat struct {
	PID, Parent, Group int
	State              byte          // 'Z' is a zombie
	Started            string        // tells a process from a later one of the same pid
	Resident           int64         // bytes
	CPU                time.Duration // processor time, that of dead children it has waited for too
}

// Zombie tells whether the process has ended, and nobody has waited for it.
func (s *Stat) Zombie() bool { return s.State == 'Z' }

// tick is that of the times in /proc: USER_HZ is 100 on every architecture
// that Go runs on.
const tick = 10 * time.Millisecond

func read(pid int, name string) ([]byte, error) {
	return os.ReadFile("/proc/" + strconv.Itoa(pid) + "/" + name)
}

// List returns the pids of all processes.
func List() []int {
	directory, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer directory.Close()
	names, err := directory.Readdirnames(-1)
	if err != nil {
		return nil
	}
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Read looks at one process; false if there is none.
func Read(pid int) (Stat, bool) {
	data, err := read(pid, "stat")
	if err != nil {
		return Stat{}, false
	}
	// The name, in brackets, may hold anything; fields are counted after it.
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return Stat{}, false
	}
	fields := bytes.Fields(data[end+1:])
	if len(fields) < 22 {
		return Stat{}, false
	}
	number := func(field int) int64 {
		n, _ := strconv.ParseInt(string(fields[field]), 10, 64)
		return n
	}
	var ticks int64
	for field := 11; field < 15; field++ { // utime, stime, cutime, cstime
		ticks += number(field)
	}
	return Stat{
		PID: pid, Parent: int(number(1)), Group: int(number(2)), State: fields[0][0], Started: string(fields[19]),
		Resident: number(21) * int64(os.Getpagesize()), CPU: time.Duration(ticks) * tick,
	}, true
}

// All looks at every process.
func All() []Stat {
	var all []Stat
	for _, pid := range List() {
		if s, ok := Read(pid); ok {
			all = append(all, s)
		}
	}
	return all
}

// Of looks at the processes whose parent is the given one, by looking at all.
func Of(parent int) []Stat {
	var children []Stat
	for _, s := range All() {
		if s.Parent == parent {
			children = append(children, s)
		}
	}
	return children
}

// Children returns the processes that a process's threads have started, without
// a look at others. It is not ok where the kernel doesn't list them
// (CONFIG_PROC_CHILDREN).
func Children(pid int) (list []int, ok bool) {
	tasks := "/proc/" + strconv.Itoa(pid) + "/task"
	threads, err := os.ReadDir(tasks)
	if err != nil {
		return nil, true // it has gone
	}
	for _, thread := range threads {
		data, err := os.ReadFile(tasks + "/" + thread.Name() + "/children")
		if err != nil {
			if _, gone := os.Stat(tasks + "/" + thread.Name()); gone == nil {
				return nil, false
			}
			continue
		}
		for field := range bytes.FieldsSeq(data) {
			if child, err := strconv.Atoi(string(field)); err == nil {
				list = append(list, child)
			}
		}
	}
	return list, true
}

// HasVariable tells whether a process was started with a variable that matches.
// A zombie's environment is empty, and those of others' processes are closed.
func HasVariable(pid int, match func(name, value string) bool) bool {
	environ, err := read(pid, "environ")
	if err != nil {
		return false
	}
	for entry := range bytes.SplitSeq(environ, []byte{0}) {
		name, value, found := strings.Cut(string(entry), "=")
		if found && match(name, value) {
			return true
		}
	}
	return false
}

// Arguments returns a process's command line, also that of a sealed one.
func Arguments(pid int) []string {
	line, err := read(pid, "cmdline")
	if err != nil || len(line) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
}

// Proportional returns a process's share of resident memory in bytes, pages
// that are shared with others divided among them.
func Proportional(pid int) (int64, bool) {
	kilobytes, ok := field(pid, "smaps_rollup", "Pss:", 10)
	return kilobytes << 10, ok
}

// HighWater returns the most resident memory that a process has had, in bytes;
// 0 if that isn't known.
func HighWater(pid int) int64 {
	kilobytes, _ := field(pid, "status", "VmHWM:", 10)
	return kilobytes << 10
}

// Ignores tells whether a process has asked not to be told of a signal.
func Ignores(pid int, signal syscall.Signal) bool {
	set, _ := field(pid, "status", "SigIgn:", 16)
	return set&(1<<(signal-1)) != 0
}

// field returns the number after a name, at the beginning of a line.
func field(pid int, file, name string, base int) (int64, bool) {
	data, err := read(pid, file)
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(data) {
		rest, ok := bytes.CutPrefix(line, []byte(name))
		if !ok {
			continue
		}
		words := bytes.Fields(rest)
		if len(words) == 0 {
			return 0, false
		}
		n, err := strconv.ParseUint(string(words[0]), base, 64)
		return int64(n), err == nil
	}
	return 0, false
}
