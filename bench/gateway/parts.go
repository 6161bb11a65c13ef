package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// bench is the processes of a measurement.
type bench struct {
	dir                  string
	upstream, slow       *process // the stubs of agents: at once, and after 2 ms
	gateway, slowGateway *process
	nginx                *process
	all                  []*process
}

// process is one of them; address is where it listens on TCP.
type process struct {
	command *exec.Cmd
	address string
}

func start(ctx context.Context, profile string) (_ *bench, err error) {
	dir, err := os.MkdirTemp("", "bench-gateway-")
	if err != nil {
		return nil, err
	}
	b := &bench{dir: dir}
	defer func() {
		if err != nil {
			b.stop()
		}
	}()
	if b.upstream, err = b.self(ctx, "serve-upstream", "-socket", filepath.Join(dir, "quick")); err != nil {
		return nil, err
	}
	if b.slow, err = b.self(ctx, "serve-upstream", "-socket", filepath.Join(dir, "slow"), "-delay", "2ms"); err != nil {
		return nil, err
	}
	if b.gateway, err = b.self(ctx, "serve-gateway", "-upstream", filepath.Join(dir, "quick"), "-profile", profile); err != nil {
		return nil, err
	}
	if b.slowGateway, err = b.self(ctx, "serve-gateway", "-upstream", filepath.Join(dir, "slow")); err != nil {
		return nil, err
	}
	if b.nginx, err = b.startNginx(ctx); err != nil {
		return nil, err
	}
	return b, os.WriteFile(filepath.Join(dir, "post.lua"), []byte(fmt.Sprintf(
		"wrk.method = 'POST'\nwrk.body = '%s'\nwrk.headers['Content-Type'] = 'application/json'\n", body())), 0o600)
}

func (b *bench) stop() {
	for _, p := range b.all {
		_ = p.command.Process.Signal(os.Interrupt)
		_ = p.command.Wait()
	}
	_ = os.RemoveAll(b.dir)
}

// self starts this program again, and reads from its first line where it listens.
func (b *bench) self(ctx context.Context, args ...string) (*process, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, executable, args...)
	command.Stderr = os.Stderr
	output, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	p := &process{command: command}
	b.all = append(b.all, p)
	line, err := bufio.NewReader(output).ReadString('\n')
	p.address = strings.TrimSpace(line)
	return p, err
}

const nginxConfig = `
daemon off; master_process off; worker_processes 1;
error_log stderr warn; pid %[1]s/nginx.pid;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 100000000; client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  upstream agent { server unix:%[1]s/quick; keepalive 64; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:%[2]s;
    location /v1/models/m/predict {
      proxy_pass http://agent/predict; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer secret"; proxy_set_header Mm-Timeout-Ms 30000; add_header Model-Version 3;
    }
  }
}
`

func (b *bench) startNginx(ctx context.Context) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(b.dir, "nginx.conf")
	_, port, _ := strings.Cut(address, ":")
	if err := os.WriteFile(path, []byte(fmt.Sprintf(nginxConfig, b.dir, port)), 0o600); err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, "nginx", "-p", b.dir, "-e", "stderr", "-c", path)
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting nginx: %w", err)
	}
	p := &process{command: command, address: address}
	b.all = append(b.all, p)
	return p, nil
}

// checkAnswers sees to it that both proxies do the same work.
func (b *bench) checkAnswers() error {
	for _, p := range []*process{b.gateway, b.nginx, b.slowGateway, b.slow} {
		var last error
		for range 100 { // nginx doesn't say when it listens
			reply, err := http.Post("http://"+p.address+"/v1/models/m/predict", "application/json", strings.NewReader(body()))
			if last = err; err != nil {
				time.Sleep(20 * time.Millisecond)
				continue
			}
			data, err := io.ReadAll(reply.Body)
			reply.Body.Close()
			if err != nil || reply.StatusCode != 200 || string(data) != answer() {
				return fmt.Errorf("%s answers %d %q (%v)", p.command, reply.StatusCode, data, err)
			}
			break
		}
		if last != nil {
			return last
		}
	}
	return nil
}

var (
	counted  = regexp.MustCompile(`(\d+) requests in`)
	unwanted = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)|Socket errors:.*`)
)

// load sends requests for a while, and returns how many were answered.
func (b *bench) load(ctx context.Context, address string, connections int, span time.Duration) (int, error) {
	command := exec.CommandContext(ctx, "wrk", "-t", "1", "-c", strconv.Itoa(connections), "-d", span.String(),
		"-s", filepath.Join(b.dir, "post.lua"), "http://"+address+"/v1/models/m/predict")
	output, err := command.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("wrk: %w\n%s", err, output)
	}
	if bad := unwanted.Find(output); bad != nil {
		return 0, fmt.Errorf("wrk against %s: %s", address, bad)
	}
	found := counted.FindSubmatch(output)
	if found == nil {
		return 0, fmt.Errorf("wrk said nothing of requests:\n%s", output)
	}
	return strconv.Atoi(string(found[1]))
}

// cpu is the time that the process has computed so far.
func (p *process) cpu() (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest) // from field 3, state, on
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
	return time.Duration(user+system) * tick, nil
}
