package cluster

import (
	"context"
	"testing"
	"time"
)

// Eventually waits until the condition holds, and fails the test when it
// doesn't within the time. The condition says how things stand, for that
// message; an error is how things stand, too, since a cluster under test may
// be away for a while.
func Eventually(t testing.TB, within time.Duration, what string, condition func(context.Context) (holds bool, standing string, err error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last := "not asked yet"
	for {
		holds, standing, err := condition(ctx)
		switch {
		case holds && err == nil:
			return
		case err != nil && ctx.Err() == nil:
			last = err.Error()
		case err == nil:
			last = standing
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s; at last: %s", what, within, last)
		case <-tick.C:
		}
	}
}
