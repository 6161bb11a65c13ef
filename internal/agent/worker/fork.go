package worker

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"modelmanager.dev/internal/proc"
)

// forkTimeout is what a zygote gets to fork, which takes milliseconds.
const forkTimeout = 5 * time.Second

// forkRequest asks a zygote for a worker.
type forkRequest struct {
	File     string            `json:"file"`
	Function string            `json:"function"`
	Dir      string            `json:"dir"`
	Env      map[string]string `json:"env"`
	Nice     int               `json:"nice"` // the worker's; a zygote has none
}

// forkReply is what a zygote says: first the pid, at last the wait status.
type forkReply struct {
	PID    int     `json:"pid"`
	Status *uint32 `json:"status"`
}

// fork has the zygote fork a worker, which takes some 30 ms where a fresh
// process imports for a second. It returns nil where there is no zygote.
func (o *Options) fork(env []string, log *Log) (*process, error) {
	if o.Zygote == "" || o.Spec.Run.Python == "" {
		return nil, nil
	}
	file, function := splitFunction(o.Spec.Run.Python)
	p, worker, err := newProcess(file, log, o.Reaper)
	if err != nil {
		return nil, err
	}
	defer worker.close()
	output, outputWrite, err := os.Pipe()
	if err != nil {
		p.closePipes()
		return nil, err
	}
	defer outputWrite.Close()
	request := forkRequest{File: file, Function: function, Dir: o.Dir, Env: map[string]string{markerVariable: p.marker}, Nice: proc.Nicer()}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		request.Env[name] = value
	}
	connection, replies, err := askZygote(o.Zygote, request, worker.requests, worker.answers, outputWrite, outputWrite)
	if err == nil {
		var first forkReply
		if err = replies.Decode(&first); err == nil && first.PID <= 0 {
			err = errors.New("the zygote named no process")
		}
		p.pid = first.PID
	}
	if err != nil {
		if connection != nil {
			connection.Close()
		}
		p.closePipes()
		output.Close()
		return nil, err
	}
	connection.SetDeadline(time.Time{})
	go p.follow(connection, replies, output)
	return p, nil
}

// askZygote sends a request with the worker's descriptors.
func askZygote(path string, request forkRequest, files ...*os.File) (*net.UnixConn, *json.Decoder, error) {
	connection, err := net.DialTimeout("unix", path, forkTimeout)
	if err != nil {
		return nil, nil, err
	}
	unixConnection, ok := connection.(*net.UnixConn)
	if !ok {
		connection.Close()
		return nil, nil, fmt.Errorf("%s is no Unix socket", path)
	}
	line, err := json.Marshal(request)
	if err != nil {
		return unixConnection, nil, err
	}
	descriptors := make([]int, len(files))
	for i, file := range files {
		// Not Fd, which would make the agent's end of the pipe blocking, too.
		raw, err := file.SyscallConn()
		if err != nil {
			return unixConnection, nil, err
		}
		if err := raw.Control(func(fd uintptr) { descriptors[i] = int(fd) }); err != nil {
			return unixConnection, nil, err
		}
		if err := unix.SetNonblock(descriptors[i], false); err != nil {
			return unixConnection, nil, err
		}
	}
	unixConnection.SetDeadline(time.Now().Add(forkTimeout))
	line = append(line, '\n')
	n, _, err := unixConnection.WriteMsgUnix(line, unix.UnixRights(descriptors...), nil)
	if err == nil && n < len(line) {
		_, err = unixConnection.Write(line[n:])
	}
	return unixConnection, json.NewDecoder(bufio.NewReader(unixConnection)), err
}

// follow waits until a forked worker is dead. The zygote tells how it ended;
// the kernel tells that it has, even where the zygote is dead or stuck.
func (p *process) follow(connection *net.UnixConn, replies *json.Decoder, output *os.File) {
	var copied sync.WaitGroup
	copied.Go(p.log.follow(output))
	var last forkReply
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if awaitExit(p.pid) == nil {
			// Its status is about to come.
			connection.SetReadDeadline(time.Now().Add(time.Second))
		}
	}()
	err := replies.Decode(&last)
	if err != nil || last.Status == nil {
		syscall.Kill(-p.pid, syscall.SIGKILL)
	}
	<-watched
	connection.Close()
	status := syscall.WaitStatus(syscall.SIGKILL)
	if last.Status != nil {
		status = syscall.WaitStatus(*last.Status)
	}
	output.SetReadDeadline(time.Now().Add(outputDelay))
	copied.Wait()
	output.Close()
	p.finish(status)
}

// awaitExit waits until a process that may be another's child has exited.
func awaitExit(pid int) error {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
