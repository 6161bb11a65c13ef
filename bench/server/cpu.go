package server

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is USER_HZ's, 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// CPU is the time that a process, its descendants, and those descendants that
// they have waited for, have computed so far.
func CPU(pid int) (time.Duration, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	children := make(map[int][]int)
	used := make(map[int]time.Duration)
	for _, entry := range entries {
		id, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(data), ") ")
		fields := strings.Fields(rest) // from field 3, state, on
		if len(fields) < 15 {
			continue
		}
		parent, _ := strconv.Atoi(fields[1])
		children[parent] = append(children[parent], id)
		for _, field := range fields[11:15] { // utime, stime, cutime, cstime
			ticks, _ := strconv.ParseInt(field, 10, 64)
			used[id] += time.Duration(ticks) * tick
		}
	}
	if _, there := used[pid]; !there {
		return 0, fmt.Errorf("there is no process %d", pid)
	}
	var total time.Duration
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		total += used[queue[0]]
		queue = append(queue, children[queue[0]]...)
	}
	return total, nil
}
