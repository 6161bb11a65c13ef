package registrytest

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
)

// watching runs a Watch, and hands over its events.
type watching struct {
	events chan registry.Event
	ended  chan error
	cancel context.CancelFunc
}

func watch(t *testing.T, store registry.Store) *watching {
	ctx, cancel := context.WithCancel(t.Context())
	w := &watching{events: make(chan registry.Event, 10000), ended: make(chan error, 1), cancel: cancel}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.ended <- store.Watch(ctx, func(event registry.Event) { w.events <- event })
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

func (w *watching) next(t *testing.T) registry.Event {
	t.Helper()
	select {
	case event := <-w.events:
		return event
	case err := <-w.ended:
		t.Fatalf("the watch ended: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("no event came")
	}
	return registry.Event{}
}

// until takes events up to the first that fits.
func (w *watching) until(t *testing.T, fits func(registry.Event) bool) registry.Event {
	t.Helper()
	for {
		if event := w.next(t); fits(event) {
			return event
		}
	}
}

func (w *watching) synced(t *testing.T) map[string]registry.Event {
	t.Helper()
	found := map[string]registry.Event{}
	w.until(t, func(event registry.Event) bool {
		if !event.Synced {
			found[event.Model.Name] = event
		}
		return event.Synced
	})
	return found
}

func testWatchExisting(t *testing.T, open Open) {
	ctx, store := testContext(t), open(t)
	const models = 300
	revisions := map[string]registry.Revision{}
	for i := range models {
		name := "model-" + strconv.Itoa(i)
		revisions[name] = must[registry.Revision](t)(store.PutModel(ctx, sampleModel(name), registry.None))
	}
	found := watch(t, store).synced(t)
	if len(found) != models {
		t.Fatalf("%d of %d models were told", len(found), models)
	}
	for name, event := range found {
		same(t, "model", event.Model, sampleModel(name))
		if event.Revision != revisions[name] {
			t.Fatalf("%s has revision %q, want %q", name, event.Revision, revisions[name])
		}
	}
}

func testWatchChanges(t *testing.T, open Open) {
	ctx, store := testContext(t), open(t)
	w := watch(t, store)
	if found := w.synced(t); len(found) != 0 {
		t.Fatalf("an empty store told of %v", found)
	}
	changeAndAwait(ctx, t, store, w)
}

func testWatchOtherStore(t *testing.T, open Open) {
	ctx, writer, reader := testContext(t), open(t), open(t)
	w := watch(t, reader)
	w.synced(t)
	changeAndAwait(ctx, t, writer, w)
}

func changeAndAwait(ctx context.Context, t *testing.T, writer registry.Store, w *watching) {
	t.Helper()
	model := sampleModel("a")
	first := must[registry.Revision](t)(writer.PutModel(ctx, model, registry.None))
	w.until(t, func(event registry.Event) bool { return event.Revision == first })
	model.Latest = 17
	second := must[registry.Revision](t)(writer.PutModel(ctx, model, first))
	event := w.until(t, func(event registry.Event) bool { return event.Revision == second })
	same(t, "model", event.Model, model)
	other := must[registry.Revision](t)(writer.PutModel(ctx, sampleModel("b"), registry.None))
	w.until(t, func(event registry.Event) bool { return event.Revision == other && event.Model.Name == "b" })
}

// testWatchOrder: while records change, no state is told after a later one of
// the same model, and the last one is told.
func testWatchOrder(t *testing.T, open Open) {
	ctx, store := testContext(t), open(t)
	const models, changes = 5, 30
	for i := range models {
		must[registry.Revision](t)(store.PutModel(ctx, modelmanager.Model{Name: "model-" + strconv.Itoa(i)}, registry.None))
	}
	w := watch(t, store) // some changes come before it is synced, some after
	together(t, models, func(i int) error {
		for n := 1; n <= changes; n++ {
			model, revision, err := store.Model(ctx, "model-"+strconv.Itoa(i))
			if err != nil {
				return err
			}
			model.Latest = n
			if _, err := store.PutModel(ctx, model, revision); err != nil {
				return err
			}
		}
		return nil
	})
	last, synced := map[string]int{}, 0
	for finished := 0; finished < models || synced == 0; {
		event := w.next(t)
		if event.Synced {
			synced++
			continue
		}
		if event.Model.Latest < last[event.Model.Name] {
			t.Fatalf("%s went from %d back to %d", event.Model.Name, last[event.Model.Name], event.Model.Latest)
		}
		if event.Model.Latest == changes && last[event.Model.Name] != changes {
			finished++
		}
		last[event.Model.Name] = event.Model.Latest
	}
}

func testWatchEnds(t *testing.T, open Open) {
	store := open(t)
	w := watch(t, store)
	w.synced(t)
	w.cancel()
	select {
	case err := <-w.ended:
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("a cancelled watch ended with %v", err)
		}
		w.ended <- err
	case <-time.After(30 * time.Second):
		t.Fatal("a cancelled watch didn't end")
	}
}
