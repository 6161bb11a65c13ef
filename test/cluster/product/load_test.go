package product_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/test/cluster"
)

// load is a steady stream of calls of a model, which must all be answered.
type load struct {
	stop func()
	mu   sync.Mutex
	by   map[int]int // answers by version
	bad  []string
}

// row is one of the example's, of tumour-malignancy.
func (i *installation) row(t *testing.T, model string) json.RawMessage {
	t.Helper()
	info, err := i.api.Model(t.Context(), model)
	if err != nil {
		t.Fatal(err)
	}
	var spec struct {
		Examples []struct{ Features json.RawMessage }
	}
	if err := json.Unmarshal(info.Spec, &spec); err != nil || len(spec.Examples) == 0 {
		t.Fatalf("%s has no examples: %v", model, err)
	}
	return spec.Examples[0].Features
}

// start calls a model from so many callers, each again and again.
func (i *installation) start(t *testing.T, model string, callers int, pause time.Duration) *load {
	t.Helper()
	request := modelmanager.PredictRequest{Rows: []json.RawMessage{i.row(t, model)}}
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{by: map[int]int{}}
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			tick := time.NewTicker(max(pause, time.Microsecond))
			defer tick.Stop()
			for ctx.Err() == nil {
				answer, err := i.api.Predict(ctx, model, 0, request)
				if ctx.Err() == nil {
					l.count(answer, err)
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	l.stop = sync.OnceFunc(func() { cancel(); group.Wait() })
	t.Cleanup(l.stop)
	return l
}

func (l *load) count(answer modelmanager.PredictResponse, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && len(answer.Predictions) != 1 {
		err = errors.New("an answer without its prediction")
	}
	if err != nil {
		l.bad = append(l.bad, fmt.Sprint(time.Now().Format("15:04:05.000 "), err))
		return
	}
	l.by[answer.Version]++
}

// answers returns how many calls each version has answered since the last time.
func (l *load) answers() map[int]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	by := maps.Clone(l.by)
	clear(l.by)
	return by
}

// await waits until a version has answered.
func (l *load) await(t *testing.T, within time.Duration, version int) {
	t.Helper()
	cluster.Eventually(t, within, fmt.Sprintf("version %d answers", version), func(context.Context) (bool, string, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.by[version] > 0, fmt.Sprintf("answers by version: %v", l.by), nil
	})
}

// end ends the load; no call may have failed.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.bad) > 0 {
		t.Errorf("%d calls failed; the first: %s; the last: %s", len(l.bad), l.bad[0], l.bad[len(l.bad)-1])
	}
}
