package kube_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"modelmanager.dev"
	"modelmanager.dev/internal/kubetest"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/registry/kube"
	"modelmanager.dev/internal/registry/registrytest"
)

// TestAPIServerDies kills the apiserver while two replicas publish and one
// watches: the watch ends with an error, writes fail in time, and afterwards
// every version whose publication succeeded is there, once.
func TestAPIServerDies(t *testing.T) {
	cluster := kubetest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	if err := kube.InstallCRDs(ctx, cluster.Config()); err != nil {
		t.Fatal(err)
	}
	namespace := kubetest.Namespace(t, cluster.Config())
	connect := func() *kube.Store {
		store, err := kube.Open(cluster.Config(), kube.Options{Namespace: namespace})
		if err != nil {
			t.Fatal(err)
		}
		return store
	}

	watcher := connect()
	synced, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- watcher.Watch(ctx, func(event registry.Event) {
			if event.Synced {
				close(synced)
			}
		})
	}()
	<-synced

	var mu sync.Mutex
	published := map[string]int{} // numbers by content
	enough := make(chan struct{})
	var enoughOnce sync.Once
	var group sync.WaitGroup
	killed := make(chan struct{})
	for replica := range 2 {
		r := registry.New(connect(), registry.Options{})
		group.Go(func() {
			for i := 0; ; i++ {
				content := fmt.Sprintf("content-%d-%d", replica, i)
				version, _, err := r.Publish(ctx, registrytest.Publication("a", content))
				if err != nil {
					select {
					case <-killed:
					default:
						t.Errorf("publishing failed before anybody died: %v", err)
					}
					if code := modelmanager.CodeOf(err); code != modelmanager.CodeUnavailable {
						t.Errorf("publishing without an apiserver: %v, of code %s", err, code)
					}
					return
				}
				mu.Lock()
				published[content] = version.Number
				if len(published) == 10 {
					enoughOnce.Do(func() { close(enough) })
				}
				mu.Unlock()
			}
		})
	}
	<-enough
	close(killed)
	cluster.KillAPIServer(t)
	group.Wait()
	select {
	case err := <-ended:
		if err == nil || ctx.Err() != nil {
			t.Errorf("the watch ended with %v", err)
		}
		wantCode(t, err, modelmanager.CodeUnavailable)
	case <-time.After(30 * time.Second):
		t.Fatal("the watch outlived the apiserver")
	}
	err := watcher.Watch(ctx, func(registry.Event) { t.Error("a dead apiserver told of something") })
	wantCode(t, err, modelmanager.CodeUnavailable)

	cluster.StartAPIServer(t)
	r := registry.New(connect(), registry.Options{})
	for content, number := range published {
		version, err := r.Version(ctx, "a", number)
		if err != nil || version.Source.Commit != content {
			t.Errorf("%s was version %d, and is %q (%v)", content, number, version.Source.Commit, err)
		}
	}
	version, _, err := r.Publish(ctx, registrytest.Publication("a", "after"))
	if err != nil || version.Number <= len(published) {
		t.Fatalf("after %d versions came %d (%v)", len(published), version.Number, err)
	}
	follow, stop := context.WithCancel(ctx)
	var last modelmanager.Model
	_ = watcher.Watch(follow, func(event registry.Event) { // ends with follow
		if event.Synced {
			stop()
		} else {
			last = event.Model
		}
	})
	if last.Latest != version.Number {
		t.Fatalf("a new watch saw %+v", last)
	}
}

// TestNoAPIServer: calls end soon and say why, whether nothing listens at the
// address or something that never answers.
func TestNoAPIServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // it accepts connections, in the kernel, and is silent
	for name, host := range map[string]string{"nobody": "http://127.0.0.1:1", "silent": "http://" + listener.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			store, err := kube.Open(&rest.Config{Host: host}, kube.Options{Namespace: "models", Timeout: 300 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			calls := map[string]func() error{
				"Model": func() error {
					_, _, err := store.Model(t.Context(), "a")
					return err
				},
				"PutModel": func() error {
					_, err := store.PutModel(t.Context(), modelmanager.Model{Name: "a"}, registry.None)
					return err
				},
				"CreateVersion": func() error {
					return store.CreateVersion(t.Context(), modelmanager.Version{Model: "a", Number: 1})
				},
				"Version": func() error {
					_, err := store.Version(t.Context(), "a", 1)
					return err
				},
				"Versions": func() error {
					_, err := store.Versions(t.Context(), "a", 0, 1)
					return err
				},
			}
			if name == "nobody" {
				calls["Watch"] = func() error { return store.Watch(t.Context(), func(registry.Event) {}) }
			}
			for call, f := range calls {
				start := time.Now()
				err := f()
				wantCode(t, err, modelmanager.CodeUnavailable)
				if took := time.Since(start); took > 10*time.Second {
					t.Errorf("%s took %v", call, took)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if _, _, err := store.Model(ctx, "a"); name == "silent" {
				wantCode(t, err, modelmanager.CodeDeadlineExceeded)
			}
		})
	}
}

// TestNothingInstalled: a cluster without the namespace says so, and not that
// there is no model.
func TestNothingInstalled(t *testing.T) {
	install(t)
	store := open(t, "mm-no-such-namespace")
	_, err := store.PutModel(t.Context(), modelmanager.Model{Name: "a"}, registry.None)
	wantCode(t, err, modelmanager.CodeUnavailable)

	cluster := kubetest.Start(t)
	bare, err := kube.Open(cluster.Config(), kube.Options{Namespace: "default"})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = bare.Model(t.Context(), "a")
	wantCode(t, err, modelmanager.CodeUnavailable)
	_, err = bare.Versions(t.Context(), "a", 0, 1)
	wantCode(t, err, modelmanager.CodeUnavailable)
	wantCode(t, bare.Watch(t.Context(), func(registry.Event) {}), modelmanager.CodeUnavailable)
}

// TestRights: an account without rights is told what it lacks.
func TestRights(t *testing.T) {
	namespace := install(t)
	config := rest.CopyConfig(kubetest.Config(t))
	config.Impersonate.UserName = "nobody"
	store, err := kube.Open(config, kube.Options{Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = store.Model(t.Context(), "a")
	wantCode(t, err, modelmanager.CodeInternal)
}
