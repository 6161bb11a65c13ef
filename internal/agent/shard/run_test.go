package shard

import (
	"testing"
	"testing/synctest"
	"time"

	"modelmanager.dev"
)

func TestTired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := time.Now()
		away := modelmanager.Errorf(modelmanager.CodeUnavailable, "the feature store is away")
		broken := modelmanager.Errorf(modelmanager.CodeStorage, "the disk is full")
		if tired(away, maxAttempts, first) || !tired(broken, maxAttempts, first) || tired(broken, maxAttempts-1, first) {
			t.Error("after a moment: what is away is waited for; the rest is tried a few times")
		}
		if !tired(modelmanager.Errorf(modelmanager.CodeInternal, "a bug"), 1, first) {
			t.Error("a bug is tried again")
		}
		time.Sleep(outage + time.Second)
		if !tired(away, maxAttempts, first) || tired(away, maxAttempts-1, first) {
			t.Error("what is away for long is not waited for any longer")
		}
	})
}
