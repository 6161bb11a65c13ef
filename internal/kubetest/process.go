package kubetest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// process is a program that ends with the test binary, however that ends: a
// shell beside it holds the reading end of a pipe whose writing end nobody but
// the test binary has. When the pipe breaks, the shell kills the program, by
// the id of its own child, and removes the folder that goes with it, if any.
type process struct {
	pid   int
	log   string
	ended <-chan struct{} // the program has ended

	shell  *exec.Cmd
	hold   io.Closer // the writing end
	killed sync.Once
}

const keeper = `folder=$1; log=$2; shift 2
trap : PIPE
exec 3<&0
"$@" >>"$log" 2>&1 3<&- &
program=$!
echo $program
{ read -r _; kill -KILL $program; } <&3 >/dev/null 2>&1 &
reader=$!
wait $program
kill -KILL $reader 2>/dev/null
echo ended 2>/dev/null
read -r _ <&3
test -z "$folder" || rm -rf "$folder"
`

// startProcess starts a program; folder is removed when it ends.
func startProcess(log, folder string, command ...string) (*process, error) {
	shell := exec.Command("/bin/sh", append([]string{"-c", keeper, "sh", folder, log}, command...)...)
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is for the tests alone
	hold, err := shell.StdinPipe()
	if err != nil {
		return nil, err
	}
	says, err := shell.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := shell.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(says)
	first, err := lines.ReadString('\n')
	pid, convErr := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || convErr != nil {
		hold.Close()
		return nil, fmt.Errorf("starting %s: the shell said %q", command[0], first)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = lines.ReadString('\n') // "ended", or the end of the shell
	}()
	return &process{pid: pid, log: log, ended: ended, shell: shell, hold: hold}, nil
}

// kill ends the program, and returns when it is gone.
func (p *process) kill() {
	p.killed.Do(func() {
		p.hold.Close()
		<-p.ended
		_ = p.shell.Wait() // its own end says nothing about the program's
	})
}

// tail returns the end of the program's log.
func (p *process) tail() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}
