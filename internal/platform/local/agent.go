package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
)

// markVariable is in the environment of every agent: the run folder it is of.
const markVariable = "MM_RUN_DIR"

// configFile is an agent's configuration, in its run folder.
const configFile = "config.json"

// workerLog is where an agent keeps its worker's output, in its run directory.
const workerLog = "log/worker.log"

// passedOn are the variables of this process that an agent sees. The others
// may hold the server's own secrets.
var passedOn = []string{
	"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "JAVA_HOME", "R_HOME", "R_LIBS_SITE",
	"SSL_CERT_FILE", "SSL_CERT_DIR",
}

// launch is what an agent is started for.
type launch struct {
	id      string
	ref     platform.Ref
	config  agent.Config // without RunDir
	secrets []string     // NAME=value
	spawner *spawner
}

// process is a running agent.
type process struct {
	dir      string // its run folder
	config   agent.Config
	command  *exec.Cmd
	lifeline io.Closer
	log      *logWriter
	logs     *logs
	ref      platform.Ref
	id       string
	exited   chan struct{}
	err      error // once exited is closed
}

// start starts an agent in a run folder of its own.
func (d *Driver) start(l launch) (_ *process, err error) {
	dir := filepath.Join(d.options.Dir, "run", l.id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making a folder for an agent: %w", err)
	}
	p := &process{dir: dir, logs: d.logs, ref: l.ref, id: l.id, exited: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.discard())
		}
	}()
	l.config.RunDir = filepath.Join(dir, "home")
	if err := os.Mkdir(l.config.RunDir, 0o700); err != nil {
		return nil, fmt.Errorf("making a folder for an agent: %w", err)
	}
	p.config = l.config
	text, err := json.Marshal(l.config)
	if err != nil {
		return nil, fmt.Errorf("writing an agent's configuration: %w", err)
	}
	file := filepath.Join(dir, configFile)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, fmt.Errorf("writing an agent's configuration: %w", err)
	}
	if p.log, err = d.logs.open(l.ref, l.id); err != nil {
		return nil, err
	}
	arguments := append(append([]string{}, d.options.Agent...), file)
	p.command = exec.Command(arguments[0], arguments[1:]...)
	p.command.Dir = dir
	p.command.Env = agentEnviron(dir, l.secrets)
	p.command.Stdout, p.command.Stderr = p.log, p.log
	// A worker that outlives its agent may hold the agent's output open.
	p.command.WaitDelay = time.Second
	if p.lifeline, err = p.command.StdinPipe(); err != nil {
		return nil, fmt.Errorf("starting an agent: %w", err)
	}
	if err := l.spawner.start(p.command); err != nil {
		return nil, errors.Join(fmt.Errorf("starting an agent: %w", err), p.lifeline.Close())
	}
	d.mu.Lock()
	d.live[p.id] = p
	d.mu.Unlock()
	go p.wait()
	return p, nil
}

func agentEnviron(dir string, secrets []string) []string {
	environ := []string{markVariable + "=" + dir}
	for _, name := range passedOn {
		if value, ok := os.LookupEnv(name); ok {
			environ = append(environ, name+"="+value)
		}
	}
	return append(environ, secrets...)
}

func (p *process) wait() {
	defer close(p.exited)
	p.err = p.command.Wait()
	if errors.Is(p.err, exec.ErrWaitDelay) {
		p.err = nil // the agent itself ended well
	}
}

// stop asks the agent to finish, and kills it when it takes longer than grace.
func (p *process) stop(grace time.Duration) {
	p.signal(syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.exited:
	case <-timer.C:
		p.kill()
	}
}

// killGrace is how long an agent may take to end its worker, told that its
// parent is gone, before it is killed itself.
const killGrace = 3 * time.Second

// kill ends the agent, whatever it is doing. Cutting its lifeline lets it
// take its worker along.
func (p *process) kill() {
	_ = p.lifeline.Close()
	timer := time.NewTimer(killGrace)
	defer timer.Stop()
	select {
	case <-p.exited:
		return
	case <-timer.C:
	}
	p.signal(syscall.SIGKILL)
	<-p.exited
}

// signal sends to the agent's whole group while the agent has not been waited
// for: until then, its number is not given again.
func (p *process) signal(signal syscall.Signal) {
	if signal == syscall.SIGKILL {
		_ = syscall.Kill(-p.command.Process.Pid, signal) // it may have ended by itself
		return
	}
	_ = p.command.Process.Signal(signal)
}

// exitCode returns the agent's exit code, −1 if a signal ended it.
func (p *process) exitCode() int { return p.command.ProcessState.ExitCode() }

// reason says why the agent ended, in its own last words if it had any.
func (p *process) reason() string {
	if last := strings.TrimPrefix(p.log.lastLine(), "Error: "); last != "" {
		return last
	}
	if p.exitCode() < 0 {
		return "the agent was killed (" + p.command.ProcessState.String() + ")"
	}
	return ""
}

// lastLog returns the last of what an agent that has ended and its worker have
// written.
func (p *process) lastLog() string {
	own, _, _ := readEnd(p.log.path) // what can't be read is left out
	worker, _, _ := readEnd(p.workerLog())
	return own + worker
}

// workerLog returns the path of the worker's own log.
func (p *process) workerLog() string { return filepath.Join(p.dir, "home", workerLog) }

// discard clears up after an agent that has ended.
func (d *Driver) discard(p *process) {
	d.mu.Lock()
	delete(d.live, p.id)
	d.mu.Unlock()
	if err := p.discard(); err != nil {
		d.options.Logger.Warn("clearing up after an agent", "agent", p.id, "error", err)
	}
}

// discard ends what the agent has left behind, and removes its run folder; its
// logs stay.
func (p *process) discard() error {
	var errs []error
	if p.command != nil && p.command.ProcessState != nil && p.exitCode() != 0 {
		_, err := endThoseOf(p.dir)
		errs = append(errs, err)
	}
	if p.lifeline != nil {
		_ = p.lifeline.Close() // it may be closed
	}
	if p.log != nil {
		errs = append(errs, p.log.Close())
	}
	p.logs.keep(p.ref, p.id, p.workerLog())
	return errors.Join(append(errs, removeAll(p.dir))...)
}

// secretsOf returns the values of a spec's secrets as NAME=value.
func (d *Driver) secretsOf(ctx context.Context, workload platform.Workload) ([]string, error) {
	var environ []string
	for _, secret := range workload.Spec.Secrets {
		if d.options.Secret == nil {
			return nil, modelmanager.Errorf(modelmanager.CodeNotFound, "the version wants the secret %s, and this server keeps none", secret.Name)
		}
		value, err := d.options.Secret(ctx, secret.Name)
		if err != nil {
			return nil, fmt.Errorf("getting the secret %s: %w", secret.Name, err)
		}
		environ = append(environ, secret.Env+"="+value)
	}
	return environ, nil
}

// removeAll removes a folder that a model could write to, and may have made
// unreadable.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
		if entry != nil && entry.IsDir() {
			_ = os.Chmod(name, 0o700) // what can't be changed can't be removed either
		}
		return nil
	})
	return os.RemoveAll(dir)
}
