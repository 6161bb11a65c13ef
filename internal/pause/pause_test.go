package pause_test

import (
	"context"
	"testing"
	"time"

	"modelmanager.dev/internal/pause"
)

func TestFor(t *testing.T) {
	begin := time.Now()
	if !pause.For(t.Context(), 5*time.Millisecond) || time.Since(begin) < 5*time.Millisecond {
		t.Errorf("a pause of 5 ms ended after %s", time.Since(begin))
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	if pause.For(ctx, time.Hour) {
		t.Error("an hour passed before the context's end")
	}
}
