package api_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
	registryfile "modelmanager.dev/internal/registry/file"
	registrymemory "modelmanager.dev/internal/registry/memory"
)

// failingStore is a Store in front of which a server dies: what fail answers
// becomes of a call, and after is told of each that went through.
type failingStore struct {
	registry.Store
	mu    sync.Mutex
	fail  func(call string) error
	after func(call string)
}

// set says what becomes of calls from now on.
func (f *failingStore) set(fail func(call string) error, after func(call string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail, f.after = fail, after
}

func (f *failingStore) call(name string, do func() error) error {
	f.mu.Lock()
	fail, after := f.fail, f.after
	f.mu.Unlock()
	if fail != nil {
		if err := fail(name); err != nil {
			return err
		}
	}
	err := do()
	if after != nil && err == nil {
		after(name)
	}
	return err
}

func (f *failingStore) CreateVersion(ctx context.Context, version modelmanager.Version) error {
	return f.call("version", func() error { return f.Store.CreateVersion(ctx, version) })
}

// PutModel is called "traffic" where it rolls out version 2.
func (f *failingStore) PutModel(ctx context.Context, model modelmanager.Model, old registry.Revision) (revision registry.Revision, err error) {
	name := "model"
	if model.Traffic().Largest() == 2 {
		name = "traffic"
	}
	err = f.call(name, func() error { revision, err = f.Store.PutModel(ctx, model, old); return err })
	return revision, err
}

// onEachStore runs a test over each pair of what keeps models and objects on
// one machine.
func onEachStore(t *testing.T, test func(t *testing.T, w *world, store *failingStore)) {
	t.Run("memory", func(t *testing.T) {
		store := &failingStore{Store: registrymemory.New()}
		test(t, newWorldOn(t, everybody(), store, "mem://"), store)
	})
	t.Run("file", func(t *testing.T) {
		dir := t.TempDir()
		files, err := registryfile.Open(filepath.Join(dir, "registry"), registryfile.Options{})
		if err != nil {
			t.Fatal(err)
		}
		store := &failingStore{Store: files}
		test(t, newWorldOn(t, everybody(), store, "file://"+filepath.ToSlash(filepath.Join(dir, "objects"))), store)
	})
}

// TestPublicationCutOff ends a publication with a key at each of its steps, and
// sends it again: it is finished once, and takes nothing back that somebody
// decided meanwhile.
func TestPublicationCutOff(t *testing.T) {
	died := errors.New("the server died")
	for _, step := range []struct {
		name     string
		at       string // the call of the store
		through  bool   // it went through, and all after it fails
		rollsOut bool   // the repetition does
	}{
		{"before the version is kept", "version", false, true},
		{"before the traffic is moved", "traffic", false, true},
		{"after the traffic was moved", "traffic", true, false},
	} {
		t.Run(step.name, func(t *testing.T) {
			onEachStore(t, func(t *testing.T, w *world, store *failingStore) {
				ctx := t.Context()
				w.publish("scorer", times(2))
				second := w.publication("scorer", times(3))
				life, die := context.WithCancel(ctx)
				defer die()
				if step.through {
					store.set(nil, func(call string) {
						if call == step.at {
							die()
						}
					})
				} else {
					store.set(func(call string) error {
						if call == step.at {
							return died
						}
						return nil
					}, nil)
				}
				if result, err := w.api.Publish(life, "scorer", second, "monday"); err == nil {
					t.Fatalf("it was not cut off: %+v", result)
				}
				store.set(nil, nil)
				want := 2
				if !step.rollsOut {
					if _, err := w.client.Rollback(ctx, "scorer", "the second is wrong"); err != nil {
						t.Fatal(err)
					}
					want = 1
				}
				for range 2 {
					result, err := w.client.Publish(ctx, "scorer", second, "monday")
					if err != nil || result.Version != 2 {
						t.Fatalf("%+v, %v", result, err)
					}
					if traffic, err := w.client.Traffic(ctx, "scorer"); err != nil || traffic.Largest() != want {
						t.Fatalf("traffic is %+v, want it at %d (%v)", traffic.Versions, want, err)
					}
				}
				// Nothing takes it back once it is complete either.
				if _, err := w.client.SetTraffic(ctx, "scorer", modelmanager.All(1)); err != nil {
					t.Fatal(err)
				}
				if _, err := w.client.Publish(ctx, "scorer", second, "monday"); err != nil {
					t.Fatal(err)
				}
				if traffic, err := w.client.Traffic(ctx, "scorer"); err != nil || traffic.Largest() != 1 {
					t.Errorf("traffic is %+v (%v)", traffic.Versions, err)
				}
			})
		})
	}
}

// TestOneKeyIsOnePublication sends different contents under one key at once: one
// becomes a version, the others are refused.
func TestOneKeyIsOnePublication(t *testing.T) {
	onEachStore(t, func(t *testing.T, w *world, _ *failingStore) {
		ctx := t.Context()
		w.publish("scorer", times(1))
		const contents, each = 4, 2
		results := make([]modelmanager.PublishResult, contents*each)
		failures := make([]error, contents*each)
		var group sync.WaitGroup
		for i := range results {
			request := w.publication("scorer", times(2+i/each))
			group.Go(func() { results[i], failures[i] = w.client.Publish(ctx, "scorer", request, "at once") })
		}
		group.Wait()
		won := -1
		for i, err := range failures {
			if err != nil {
				refusedWith(t, modelmanager.CodeConflict, err)
				continue
			}
			if won >= 0 && won != i/each {
				t.Errorf("the contents %d and %d were both published", won, i/each)
			}
			if won = i / each; results[i].Version != 2 {
				t.Errorf("it is version %d", results[i].Version)
			}
		}
		if won < 0 {
			t.Errorf("none was published: %v", failures)
		}
		versions, err := w.client.Versions(ctx, "scorer", 0, "")
		if err != nil || len(versions.Versions) != 2 {
			t.Errorf("%+v, %v", versions, err)
		}
		// Later too, and after a publication that has failed.
		_, err = w.client.Publish(ctx, "scorer", w.publication("scorer", times(9)), "at once")
		refusedWith(t, modelmanager.CodeConflict, err)
		if response, body := w.call("POST", "/v1/models/scorer/versions", `{"spec": {}}`, "Idempotency-Key", "bad"); response.StatusCode < 400 {
			t.Errorf("%s %s", response.Status, body)
		}
		if _, err := w.client.Publish(ctx, "scorer", w.publication("scorer", times(9)), "bad"); err != nil {
			t.Errorf("a request that can't be read has used up its key: %v", err)
		}
	})
}
