package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// constant is a process that answers after so many rounds of computing. It has
// no heap and no other work: what its slowest answers take beyond the median is
// the machine's.
type constant struct {
	address string
	round   time.Duration
}

// serveConstant is that process, which tells its address.
func serveConstant(out io.Writer) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, listener.Addr()); err != nil {
		return err
	}
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rounds, _ := strconv.Atoi(r.URL.Query().Get("rounds"))
		sum := sha256.Sum256(nil)
		for range rounds {
			sum = sha256.Sum256(sum[:])
		}
		_, _ = w.Write(sum[:])
	}))
}

// startConstant starts it, until ctx ends, and finds out how fast it is.
func startConstant(ctx context.Context) (*constant, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, program, "-constant")
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("starting the process to compare with: %w", err)
	}
	c := &constant{address: "http://" + strings.TrimSpace(line)}
	const rounds = 20_000
	took, err := times(ctx, c.rounds(rounds), 20, http.StatusOK)
	c.round = max(median(took)/rounds, 1)
	return c, err
}

// as is the address that takes so long.
func (c *constant) as(took time.Duration) func(int) string { return c.rounds(int(took / c.round)) }

func (c *constant) rounds(n int) func(int) string {
	return func(int) string { return c.address + "/?rounds=" + strconv.Itoa(n) }
}
