package server

import (
	"fmt"
	"time"

	"modelmanager.dev/internal/proc"
)

// CPU is the time that a process, its descendants, and those descendants that
// they have waited for, have computed so far.
func CPU(pid int) (time.Duration, error) {
	children := make(map[int][]int)
	used := make(map[int]time.Duration)
	for _, s := range proc.All() {
		children[s.Parent] = append(children[s.Parent], s.PID)
		used[s.PID] = s.CPU
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
