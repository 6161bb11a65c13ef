package worker

import (
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"modelmanager.dev/internal/proc"
)

// TestFamily: what came out of a process is found without a look at all others,
// from the second look on; and what lost its parent by a wide one.
func TestFamily(t *testing.T) {
	command := exec.Command("sh", "-c", `sleep 300 & sh -c 'sleep 300 & sleep 300 & wait' & sh -c 'sleep 300 & exit' & wait`)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	root := command.Process.Pid
	t.Cleanup(func() {
		_ = syscall.Kill(-root, syscall.SIGKILL)
		_ = command.Wait()
	})
	pidsOf := func(members []proc.Stat) []int {
		var pids []int
		for _, member := range members {
			if !member.Zombie() {
				pids = append(pids, member.PID)
			}
		}
		slices.Sort(pids)
		return pids
	}
	// Two shells and four sleeps; of these, one whose parent has gone.
	var all []int
	for end := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		members := everywhere(root)
		all = pidsOf(members)
		orphans := slices.ContainsFunc(members, func(s proc.Stat) bool { return s.Parent != root && !slices.Contains(all, s.Parent) && s.PID != root })
		if len(all) == 6 && orphans {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("of six processes there are %v", all)
		}
	}
	fresh := family{known: map[int]string{}}
	near := pidsOf(fresh.members(root, false))
	if len(near) != 5 || slices.ContainsFunc(near, func(pid int) bool { return !slices.Contains(all, pid) }) {
		t.Errorf("a near look finds %v of %v", near, all)
	}
	if wide := pidsOf(fresh.members(root, true)); !slices.Equal(wide, all) {
		t.Errorf("a wide look finds %v, not %v", wide, all)
	}
	if known := pidsOf(fresh.members(root, false)); !slices.Equal(known, all) {
		t.Errorf("a near look after it finds %v, not %v", known, all)
	}
	fresh.known[near[1]] = "the start of a process that had this pid before"
	if rest := pidsOf(fresh.members(root, false)); slices.Contains(rest, near[1]) {
		t.Errorf("%d is another process now, and is counted", near[1])
	}
	if none := fresh.members(0, true); len(none) != 0 {
		t.Errorf("of a process that has exited there are %v", none)
	}
}
