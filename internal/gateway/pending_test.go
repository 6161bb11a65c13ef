package gateway

import (
	"slices"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
)

// TestWhatIsPendingOfAModelThatNobodyCalled: what would answer a call is told
// without one, and nothing is started for it.
func TestWhatIsPendingOfAModelThatNobodyCalled(t *testing.T) {
	w := newWorld(t, Limits{})
	w.start("m", 1, says("old"))
	w.traffic("m", all(1))
	if pending := w.pending("m"); pending != nil {
		t.Errorf("%+v", pending)
	}
	w.setTraffic("m", modelmanager.Traffic{Versions: []modelmanager.Share{{Version: 1, Percent: 80}, {Version: 2, Percent: 20}}})
	pending := w.pending("m")
	if pending == nil || !slices.Equal(pending.Answering, []modelmanager.Share{all(1)}) ||
		!strings.Contains(pending.Reason, "version 2 starts with the next call; version 1 goes on answering until it is ready") {
		t.Errorf("%+v", pending)
	}
	if routes, versions := w.gateway.table.sizes(); routes != 0 || versions != 1 {
		t.Errorf("%d routes, %d versions", routes, versions)
	}
	w.traffic("idle", all(1))
	w.traffic("idle", all(2))
	if pending := w.pending("idle"); pending != nil {
		t.Errorf("nothing runs, and the change waits: %+v", pending)
	}
	w.mu.Lock()
	old := w.models["m"]
	w.mu.Unlock()
	old.Retired = &modelmanager.Change{At: time.Now()}
	if pending := w.gateway.Pending(old); pending != nil {
		t.Errorf("of a retired model: %+v", pending)
	}
}
