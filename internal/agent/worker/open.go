package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
)

// session is a worker that has loaded, and can be called, one call at a time.
type session interface {
	call(rows arrow.RecordBatch) (*Answer, error)
}

// open starts a worker and waits until it has loaded. Once ctx ends the worker
// is killed.
func open(ctx context.Context, o *Options, log *Log) (*process, session, error) {
	if o.Spec.Run.HTTP != nil {
		return openHTTP(ctx, o, log)
	}
	argv, err := o.argv()
	if err != nil {
		return nil, nil, err
	}
	env, err := o.environ()
	if err != nil {
		return nil, nil, err
	}
	p, err := o.launch(argv, env, log)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { p.kill("the agent is stopping") })
	defer stop()
	c, err := connect(p, o)
	if err != nil {
		if p.alive() {
			p.destroy("its start failed")
		}
		return nil, nil, o.loadFailure(p, err)
	}
	return p, c, nil
}

// launch starts the process and watches its memory.
func (o *Options) launch(argv, env []string, log *Log) (*process, error) {
	log.mark()
	p, err := o.fork(env, log)
	if p == nil || err != nil {
		if err != nil {
			o.Logger.Warn("no fork from the zygote; starting a fresh process", "error", err)
		}
		if p, err = start(argv, env, o.Dir, log, o.Reaper); err != nil {
			return nil, o.startFailure(argv[0], err)
		}
	}
	limit := o.Spec.Resources.Memory
	go p.watchMemory(limit, fmt.Sprintf("the worker used more than %s (resources.memory)", bytesText(limit)))
	return p, nil
}

// startFailure says why a program can't be started at all.
func (o *Options) startFailure(program string, err error) error {
	cause := err
	var pathError *os.PathError
	var execError *exec.Error
	if errors.As(err, &pathError) {
		cause = pathError.Err
	} else if errors.As(err, &execError) {
		cause = execError.Err
	}
	return lost(modelmanager.CodeModelError, "%s can't be started: %v", program, cause)
}

// loadFailure gives an error of a worker that never became ready the name of
// what failed to load, where the worker said nothing itself.
func (o *Options) loadFailure(p *process, err error) error {
	var e *modelmanager.Error
	if !errors.As(err, &e) || e.Detail != p.deathReason() || p.killedFor(e.Detail) {
		return err
	}
	reason := o.program() + " failed to load: it " + ended(p.status)
	if last := lastWords(p.log.freshLines(30)); last != "" {
		reason += ": " + last
	}
	return lost(modelmanager.CodeModelError, "%s", reason)
}
