// Package pause waits for a while, or for less when nobody needs it any more.
package pause

import (
	"context"
	"time"
)

// For waits for d, and tells whether it did: it returns false at once when ctx
// ends.
func For(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
