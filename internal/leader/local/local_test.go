package local_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"modelmanager.dev/internal/leader"
	"modelmanager.dev/internal/leader/local"
)

var _ leader.Elector = local.Alone{}

func TestAloneLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		led, ended := false, make(chan error, 2)
		go func() {
			ended <- local.Alone{}.Run(ctx, func(ctx context.Context) error { led = true; <-ctx.Done(); return ctx.Err() })
		}()
		go func() { ended <- local.Alone{}.Run(ctx, func(context.Context) error { return nil }) }()
		synctest.Wait()
		if !led || len(ended) > 0 {
			t.Error("it doesn't lead")
		}
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		failure := errors.New("failed")
		if err := (local.Alone{}).Run(t.Context(), func(context.Context) error { return failure }); !errors.Is(err, failure) {
			t.Error(err)
		}
	})
}
