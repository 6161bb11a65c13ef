package worker

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
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
	started            string // which tells a process from a later one of the same pid
	resident           int64  // bytes
	ticks              int64  // of processor time, its dead children's too
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
	var ticks int64
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime
		n, _ := strconv.ParseInt(string(field), 10, 64)
		ticks += n
	}
	return stat{pid, parent, group, fields[0][0], string(fields[19]), pages * int64(os.Getpagesize()), ticks}, true
}

// children returns the processes that a process's threads have started. It is
// not ok where the kernel doesn't list them (CONFIG_PROC_CHILDREN).
func children(pid int) (list []int, ok bool) {
	tasks := filepath.Join("/proc", strconv.Itoa(pid), "task")
	threads, err := os.ReadDir(tasks)
	if err != nil {
		return nil, true // it has gone
	}
	for _, thread := range threads {
		data, err := os.ReadFile(filepath.Join(tasks, thread.Name(), "children"))
		if err != nil {
			if _, gone := os.Stat(filepath.Join(tasks, thread.Name())); gone == nil {
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
