package local

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform/control"
)

// runTask is a control.RunTask: it runs one agent in batch mode to its end.
func (d *Driver) runTask(ctx context.Context, task control.Task) error {
	workload := task.Run.Workload
	p, err := d.prepare(ctx, workload, func(agent.Stage, string) {})
	if err != nil {
		return err
	}
	lease := d.zygotes.acquire(ctx, workload, p)
	defer lease.release()
	config := p.config(workload)
	config.Zygote = lease.socket()
	config.Task = &agent.Task{
		Server: task.Run.Server, Token: task.Run.Token, Job: task.Run.Job,
		Step: string(task.Run.Step), Index: task.Index, Attempt: task.Attempt,
	}
	id := fmt.Sprintf("%s-%s-%d-%s", task.Run.Job, task.Run.Step, task.Index, strings.ToLower(rand.Text()[:8]))
	process, err := d.start(launch{id: id, ref: workload.Ref(), config: config, secrets: p.secrets, spawner: d.batch})
	if err != nil {
		return err
	}
	defer d.discard(process)
	defer lease.learn(process.config.RunDir)
	select {
	case <-process.exited:
	case <-ctx.Done():
		process.kill()
		return context.Cause(ctx)
	}
	code := process.exitCode()
	if code == 0 {
		return nil
	}
	err = control.TaskError(code, process.reason())
	if code < 0 {
		return control.Killed(err, process.lastLog())
	}
	return err
}
