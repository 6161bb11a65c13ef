// Package wrk sends load with the program of that name, which must be in the
// PATH.
package wrk

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Load is requests that are sent over and over.
type Load struct {
	URL         string
	Body        string // sent with POST, as JSON
	Connections int
	Span        time.Duration
}

// Result is what became of them; all were answered with success.
type Result struct {
	Requests int
	P50, P99 time.Duration
}

var (
	counted  = regexp.MustCompile(`(\d+) requests in`)
	latency  = regexp.MustCompile(`(50|99)%\s+([\d.]+(?:us|ms|s|m))`)
	unwanted = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)|Socket errors:.*`)
)

// Run sends the load.
func (l Load) Run(ctx context.Context) (Result, error) {
	var r Result
	dir, err := os.MkdirTemp("", "bench-wrk-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	script := filepath.Join(dir, "post.lua")
	text := fmt.Sprintf("wrk.method = 'POST'\nwrk.body = [==[%s]==]\nwrk.headers['Content-Type'] = 'application/json'\n", l.Body)
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		return r, err
	}
	command := exec.CommandContext(ctx, "wrk", "-t", "1", "-c", strconv.Itoa(l.Connections), "-d", l.Span.String(),
		"--timeout", "30s", "--latency", "-s", script, l.URL)
	output, err := command.CombinedOutput()
	if err != nil {
		return r, fmt.Errorf("wrk: %w\n%s", err, output)
	}
	if bad := unwanted.Find(output); bad != nil {
		return r, fmt.Errorf("wrk against %s: %s", l.URL, bad)
	}
	found := counted.FindSubmatch(output)
	if found == nil {
		return r, fmt.Errorf("wrk said nothing of requests:\n%s", output)
	}
	if r.Requests, err = strconv.Atoi(string(found[1])); err != nil {
		return r, err
	}
	for _, m := range latency.FindAllStringSubmatch(string(output), -1) {
		d, err := time.ParseDuration(m[2])
		if err != nil {
			return r, err
		}
		if m[1] == "50" {
			r.P50 = d
		} else {
			r.P99 = d
		}
	}
	return r, nil
}

// Average is the machine's load average of the last minute, "load 0.42".
func Average() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	one, _, _ := strings.Cut(string(text), " ")
	return "load " + one
}
