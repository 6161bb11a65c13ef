package control

import (
	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
)

// killedError is the end of a task whose agent was killed.
type killedError struct {
	error
	log string
}

func (e *killedError) Unwrap() error { return e.error }

// Killed is the error of a task whose agent was killed, with what is left of
// its log, which the agent could not send.
func Killed(err error, log string) error {
	return &killedError{err, platform.LastOfLog([]byte(log))}
}

// TaskError turns the exit code of an agent that ran a task into an error, nil
// for 0. Code −1 is one that a signal ended.
func TaskError(exit int, reason string) error {
	code := modelmanager.CodeInternal
	switch exit {
	case 0:
		return nil
	case agent.ExitModelFault:
		code = modelmanager.CodeModelError
		if reason == "" {
			reason = "the model failed"
		}
	case agent.ExitStorageFault:
		code = modelmanager.CodeStorage
		if reason == "" {
			reason = "reading or writing the job's data failed"
		}
	}
	if reason == "" {
		return modelmanager.Errorf(code, "the agent ended with code %d", exit)
	}
	return modelmanager.Errorf(code, "%s", reason)
}
