package worker

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"modelmanager.dev"
)

// lostError is in the chain of errors after which the worker is gone, or was
// killed: the next call meets a fresh one.
type lostError struct {
	reason  string
	outside bool
}

func (e *lostError) Error() string { return e.reason }

// Lost tells whether the worker was lost with a call: it died, took too long,
// too much memory or broke the protocol. After other errors it goes on.
func Lost(err error) bool {
	var lost *lostError
	return errors.As(err, &lost)
}

// lost makes an error of a worker that is gone.
func lost(code modelmanager.Code, format string, args ...any) error {
	reason := fmt.Sprintf(format, args...)
	return &modelmanager.Error{Code: code, Detail: reason, Err: &lostError{reason: reason}}
}

// KilledFromOutside tells whether the worker was lost with a call through
// nothing that the agent or the model did: somebody else, or the kernel, killed
// it. The same call may well succeed on a fresh worker.
func KilledFromOutside(err error) bool {
	var lost *lostError
	return errors.As(err, &lost) && lost.outside
}

// died is the error of a call during which the process ended.
func (p *process) died() error {
	reason := p.deathReason()
	outside := p.killedFor("") && p.status.Signaled() && p.status.Signal() == syscall.SIGKILL
	return &modelmanager.Error{Code: modelmanager.CodeModelError, Detail: reason, Err: &lostError{reason, outside}}
}

// nonsense kills a worker that doesn't keep to the protocol: nothing that it
// says from here on can be told from its next answers.
func (p *process) nonsense(format string, args ...any) error {
	reason := "the worker broke the protocol: " + fmt.Sprintf(format, args...)
	p.destroy(reason)
	return lost(modelmanager.CodeModelError, "%s", reason)
}

// failure explains why reading from, or writing to, the worker failed, and
// makes sure that it is dead. slow says what took too long, if that was it.
func (p *process) failure(err error, slow string) error {
	if errors.Is(err, errTooLong) {
		return p.nonsense("%v", err)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && p.alive() {
		p.destroy(slow)
		if p.killedFor(slow) {
			return lost(modelmanager.CodeDeadlineExceeded, "%s", slow)
		}
	}
	// End of file, or a broken pipe: it has exited, is about to, or has closed
	// a pipe that it can't do without.
	if !p.wait(time.Second) {
		p.destroy("the worker closed its end of the pipes without ending")
	}
	return p.died()
}

// killedFor tells whether reason is what the process was killed for.
func (p *process) killedFor(reason string) bool {
	p.killMu.Lock()
	defer p.killMu.Unlock()
	return p.killReason == reason
}

// startError is in the chain of errors of a worker that can't be started: no
// row is at fault.
type startError struct{ err error }

func (e *startError) Error() string { return e.err.Error() }

func (e *startError) Unwrap() error { return e.err }

// transientError is in the chain of errors of a model that says that trying
// again later may help.
type transientError struct{ message string }

func (e *transientError) Error() string { return e.message }

func transient(err error) bool {
	var t *transientError
	return errors.As(err, &t)
}

// Unstartable tells whether a call failed because the worker can't be started.
func Unstartable(err error) bool {
	var start *startError
	return errors.As(err, &start)
}

// Attributable tells whether a failed call may be the fault of one of its
// rows, so that asking again for fewer of them may help.
func Attributable(err error) bool {
	if Unstartable(err) {
		return false
	}
	switch modelmanager.CodeOf(err) {
	case modelmanager.CodeModelError, modelmanager.CodeInvalidPredictions:
		return true
	case modelmanager.CodeDeadlineExceeded:
		return Lost(err)
	}
	return false
}
