package worker

import (
	"context"
	"errors"
	"testing"
	"time"

	"modelmanager.dev"
)

func TestRecentSaysWhatWasWrong(t *testing.T) {
	var r recent
	now := time.Now()
	if got := r.sentence(now); got != "" {
		t.Errorf("before the first call: %q", got)
	}
	r.add(failed("KeyError: 'x'", false), now)
	if got, want := r.sentence(now), "its only call so far failed: the model failed: KeyError: 'x'"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	r.add(nil, now)
	r.add(modelmanager.Errorf(modelmanager.CodeCancelled, "the call was cancelled: %w", context.Canceled), now)
	r.add(modelmanager.Errorf(modelmanager.CodeDeadlineExceeded, "the caller's deadline passed"), now)
	if got, want := r.sentence(now), "1 of its last 2 calls failed, most recently because the model failed: KeyError: 'x'"; got != want {
		t.Errorf("what callers give up on counts: got %q, want %q", got, want)
	}
	r.spoil(errors.New("y is NaN"), now)
	if got, want := r.sentence(now), "all of its last 2 calls failed, most recently because y is NaN"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	r.add(failed("ConnectionRefusedError", true), now)
	if got, want := r.sentence(now), "all of its last 3 calls failed, most recently because the model can't answer right now: ConnectionRefusedError"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := r.sentence(now.Add(recentTime + time.Second)); got != "" {
		t.Errorf("long after the last failure: %q", got)
	}
	for range recentCalls {
		r.add(nil, now)
	}
	if got := r.sentence(now); got != "" {
		t.Errorf("after %d good calls: %q", recentCalls, got)
	}
}
