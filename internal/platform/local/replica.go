package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/pause"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/control"
)

// prepared is what a workload's agents are started with.
type prepared struct {
	folder      string
	environment environment.Environment
	secrets     []string
}

// prepare fetches a version's files and builds its environment.
func (d *Driver) prepare(ctx context.Context, workload platform.Workload, report func(agent.Stage, string)) (prepared, error) {
	var p prepared
	var err error
	report(agent.StagePulling, "")
	if p.folder, err = d.artifacts.folder(ctx, workload.Version.Artifact); err != nil {
		return p, err
	}
	if d.options.Environments != nil {
		report(agent.StagePreparing, "")
		p.environment, err = d.options.Environments.Prepare(ctx, environment.Need{Spec: workload.Spec, Dir: p.folder}, func(doing string) {
			if ctx.Err() == nil {
				report(agent.StagePreparing, doing)
			}
		})
		if err != nil {
			return p, err
		}
	}
	p.secrets, err = d.secretsOf(ctx, workload)
	return p, err
}

func (p prepared) config(workload platform.Workload) agent.Config {
	return agent.Config{
		Model: workload.Version.Model, Version: workload.Version.Number, Spec: workload.Version.Spec,
		Dir: p.folder, Environment: p.environment, Lifeline: true,
	}
}

// drainMargin is what a replica may take to end beyond its longest call.
const drainMargin = 15 * time.Second

// runReplica is a control.RunReplica.
func (d *Driver) runReplica(ctx context.Context, instance *control.Instance) error {
	p, err := d.prepare(ctx, instance.Workload, instance.Report)
	if err != nil {
		return err
	}
	lease := d.zygotes.acquire(ctx, instance.Workload, p)
	defer lease.release()
	socket := filepath.Join(d.runtime, instance.ID[strings.LastIndexByte(instance.ID, '-')+1:])
	defer os.Remove(socket)
	config := p.config(instance.Workload)
	config.Listen, config.Key = "unix:"+socket, instance.Workload.Key
	config.Zygote = lease.socket()
	instance.Report(agent.StageStarting, "")
	process, err := d.start(launch{
		id: instance.ID, ref: instance.Workload.Ref(), config: config, secrets: p.secrets, spawner: d.realTime,
	})
	if err != nil {
		return err
	}
	defer d.discard(process)
	defer lease.learn(process.config.RunDir)
	instance.Listen("unix", socket)
	followed := make(chan struct{})
	follow, stopFollowing := context.WithCancel(ctx)
	go func() {
		defer close(followed)
		d.follow(follow, instance, socket, func() { lease.learn(process.config.RunDir) })
	}()
	select {
	case <-process.exited:
	case <-ctx.Done():
		process.stop(max(d.options.Grace, time.Duration(instance.Workload.Spec.Timeouts.Predict)+drainMargin))
	}
	stopFollowing()
	<-followed
	if ctx.Err() != nil {
		return nil
	}
	return control.TaskError(max(process.exitCode(), 1), process.reason())
}

// How often an agent is asked for its status: while it starts, and then.
// A start that takes long is asked for less often: what is lost by asking late
// is a small part of it.
const (
	askSoonest  = time.Millisecond
	askPart     = 20
	askStarting = 50 * time.Millisecond
	askReady    = time.Second
)

// follow asks an agent for its status, again and again, and reports it. Once
// it is ready, and each time that it has answered calls, learn is called.
func (d *Driver) follow(ctx context.Context, instance *control.Instance, socket string, learn func()) {
	client := control.NewAgentClient("unix", socket)
	defer client.Close()
	silent, learned, started := 0, int64(-1), time.Now()
	for {
		status, err := client.Ask(ctx, instance.Workload.Key)
		every := min(askSoonest+time.Since(started)/askPart, askStarting)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			silent = 0
			instance.Report(status.Stage, status.Reason)
			instance.Remark(status.Remark)
			if status.Stage == agent.StageReady || status.Stage == agent.StageFailed {
				every = askReady
			}
			if status.Stage == agent.StageReady && (learned < 0 || learned == 0 && status.Calls > 0) {
				learned = status.Calls
				learn()
			}
			if status.Stage == agent.StageFailed {
				every = askReady / 4
			}
		case !errors.Is(err, control.ErrNotListening):
			// It listens and doesn't answer: once may be load, three times is not.
			if silent++; silent >= 3 {
				instance.Report(agent.StageFailed, fmt.Sprintf("its agent does not answer: %v", err))
			}
			every = askReady
		}
		if !pause.For(ctx, every) {
			return
		}
	}
}
