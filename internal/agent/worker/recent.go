package worker

import (
	"fmt"
	"time"

	"modelmanager.dev"
)

// What is remembered of a worker's calls.
const (
	recentCalls = 100
	recentTime  = 10 * time.Minute // after its last failure a model is no longer spoken of
)

// recent remembers how a worker's last calls ended, so that a model which
// fails some of them, or all, and lives on, is not called healthy.
type recent struct {
	failed [recentCalls]bool
	next   int // where the next call goes
	calls  int // remembered
	reason string
	at     time.Time // of the last failure
}

// add notes a call's end.
func (r *recent) add(err error, now time.Time) {
	if err != nil && !AtFault(err) {
		return // the caller gave up, or the agent is stopping
	}
	r.failed[r.next] = err != nil
	r.next = (r.next + 1) % recentCalls
	r.calls = min(r.calls+1, recentCalls)
	if err != nil {
		r.reason, r.at = clip(err.Error()), now
	}
}

// spoil makes a failure of the last call: its answer couldn't be used.
func (r *recent) spoil(err error, now time.Time) {
	if r.calls == 0 {
		return
	}
	r.failed[(r.next+recentCalls-1)%recentCalls] = true
	r.reason, r.at = clip(err.Error()), now
}

// sentence says what was wrong lately; "" if nothing was.
func (r *recent) sentence(now time.Time) string {
	failed := 0
	for _, f := range r.failed {
		if f {
			failed++
		}
	}
	switch {
	case failed == 0 || now.Sub(r.at) > recentTime:
		return ""
	case r.calls == 1:
		return "its only call so far failed: " + r.reason
	case failed == r.calls:
		return fmt.Sprintf("all of its last %d calls failed, most recently because %s", r.calls, r.reason)
	default:
		return fmt.Sprintf("%d of its last %d calls failed, most recently because %s", failed, r.calls, r.reason)
	}
}

// AtFault tells whether a call failed through what the model did, and not
// because its caller gave up or the agent is stopping.
func AtFault(err error) bool {
	switch modelmanager.CodeOf(err) {
	case modelmanager.CodeModelError, modelmanager.CodeInvalidPredictions:
		return true
	}
	return Lost(err) || transient(err)
}
