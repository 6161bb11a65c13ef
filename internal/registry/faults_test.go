package registry_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/registry/memory"
	"modelmanager.dev/internal/registry/registrytest"
)

// dying is a store whose user dies at one of its writes: just before it, or
// just after, so that the write is done and nobody was told.
type dying struct {
	registry.Store
	writes int // until death
	after  bool
	dead   bool
}

var errDied = errors.New("the process died")

func (d *dying) write(do func() error) error {
	if d.dead {
		return errDied
	}
	d.writes--
	if d.writes > 0 {
		return do()
	}
	d.dead = true
	if d.after {
		_ = do() // whatever it says, nobody hears it
	}
	return errDied
}

func (d *dying) PutModel(ctx context.Context, model modelmanager.Model, old registry.Revision) (revision registry.Revision, err error) {
	err = d.write(func() (err error) {
		revision, err = d.Store.PutModel(ctx, model, old)
		return err
	})
	return revision, err
}

func (d *dying) CreateVersion(ctx context.Context, version modelmanager.Version) error {
	return d.write(func() error { return d.Store.CreateVersion(ctx, version) })
}

func (d *dying) DeleteVersion(ctx context.Context, model string, number int) error {
	return d.write(func() error { return d.Store.DeleteVersion(ctx, model, number) })
}

// TestPublisherDies kills a publisher before and after each of its writes,
// with and without versions before it, and then publishes again, the same
// content or another one first.
func TestPublisherDies(t *testing.T) {
	for write := 1; write <= 3; write++ {
		for _, after := range []bool{false, true} {
			for _, published := range []int{0, 2} {
				for _, otherFirst := range []bool{false, true} {
					name := fmt.Sprintf("write %d after %t with %d versions, other first %t", write, after, published, otherFirst)
					t.Run(name, func(t *testing.T) { publisherDies(t, write, after, published, otherFirst) })
				}
			}
		}
	}
}

func publisherDies(t *testing.T, write int, after bool, published int, otherFirst bool) {
	store := memory.New()
	alive := registry.New(store, registry.Options{})
	for i := range published {
		publish(t, alive, "a", fmt.Sprint(i))
	}
	victim := registry.New(&dying{Store: store, writes: write, after: after}, registry.Options{})
	_, _, err := victim.Publish(t.Context(), registrytest.Publication("a", "interrupted"))
	if published > 0 && write == 3 {
		if err != nil { // the name was claimed before, so that there are two writes
			t.Fatal(err)
		}
	} else if !errors.Is(err, errDied) {
		t.Fatalf("the publisher survived: %v", err)
	}

	// Whatever was left behind, readers see a whole model or none.
	model, err := alive.Get(t.Context(), "a")
	if err == nil {
		if _, err := alive.Version(t.Context(), "a", model.Latest); err != nil {
			t.Fatalf("the latest version can't be read: %v", err)
		}
	} else if modelmanager.CodeOf(err) != modelmanager.CodeNotFound || published > 0 {
		t.Fatal(err)
	}

	order := []string{"interrupted", "other"}
	if otherFirst {
		order = []string{"other", "interrupted"}
	}
	numbers := map[int]string{}
	for _, content := range order {
		numbers[publish(t, alive, "a", content).Number] = content
	}
	for _, number := range []int{published + 1, published + 2} { // none lost, none twice
		version, err := alive.Version(t.Context(), "a", number)
		if err != nil || version.Source.Commit != numbers[number] {
			t.Fatalf("version %d is %q, want %q (%v)", number, version.Source.Commit, numbers[number], err)
		}
	}
	if model, err := alive.Get(t.Context(), "a"); err != nil || model.Latest != published+2 {
		t.Fatalf("the latest is %d (%v), want %d", model.Latest, err, published+2)
	}
}

// TestWatchBreaks: a registry follows on when its watch breaks.
func TestWatchBreaks(t *testing.T) {
	breaking := &breakingWatch{Store: memory.New(), breaks: make(chan struct{}, 1)}
	r := running(t, breaking)
	told := make(chan int, 100)
	r.Subscribe(func(model modelmanager.Model) { told <- model.Latest })
	other := registry.New(breaking.Store, registry.Options{})
	publish(t, other, "a", "one")
	for latest := range told {
		if latest == 1 {
			break
		}
	}
	breaking.breaks <- struct{}{}
	publish(t, other, "a", "two")
	for latest := range told {
		if latest == 2 {
			break
		}
	}
}

type breakingWatch struct {
	registry.Store
	breaks chan struct{}
}

func (b *breakingWatch) Watch(ctx context.Context, event func(registry.Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-b.breaks:
			cancel()
		case <-ctx.Done():
		}
	}()
	return b.Store.Watch(ctx, event)
}
