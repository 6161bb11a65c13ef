package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/archive"
	"modelmanager.dev/internal/auth"
	authlocal "modelmanager.dev/internal/auth/local"
	leaderlocal "modelmanager.dev/internal/leader/local"
	"modelmanager.dev/internal/peers"
	"modelmanager.dev/internal/platform"
	driver "modelmanager.dev/internal/platform/memory"
	store "modelmanager.dev/internal/registry/memory"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/storage"
)

const model = `name: doubler
summary: Twice the number.
owner: tests@example.org
features: [{name: x, type: number}]
predictions: [{name: y, type: number}]
run: {command: [./double]}
examples: [{features: {x: 2}}]
`

// world is a running server over memory drivers.
type world struct {
	*Server
	end   context.CancelFunc
	ended chan error
}

func start(t *testing.T, predict func(platform.Workload, http.ResponseWriter, *http.Request), closed func()) *world {
	t.Helper()
	return startAs(t, predict, closed, nil)
}

// startAs is start, with another configuration.
func startAs(t *testing.T, predict func(platform.Workload, http.ResponseWriter, *http.Request), closed func(), change func(*Config)) *world {
	t.Helper()
	bucket, err := storage.Open(t.Context(), "mem://")
	if err != nil {
		t.Fatal(err)
	}
	config := Config{
		Listen: "127.0.0.1:0", Key: bytes.Repeat([]byte{7}, 32), Store: store.New(), Bucket: bucket,
		Driver: func(Host) (platform.Driver, error) {
			d, err := driver.New(driver.Options{Predict: predict})
			return &closing{Driver: d, closed: closed}, err
		},
		Elector: leaderlocal.Alone{},
		Peers:   peers.None{},
		Auth:    auth.New(auth.Options{Authenticator: authlocal.Everybody{}, Authorizer: authlocal.Everybody{}}),
		Logger:  slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&config)
	}
	s, err := New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &world{Server: s, end: cancel, ended: make(chan error, 1)}
	go func() { w.ended <- s.Run(ctx, nil) }()
	t.Cleanup(cancel)
	if err := s.registry.WaitSynced(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

// closing tells when a driver is closed.
type closing struct {
	*driver.Driver
	closed func()
}

func (c *closing) Close() error {
	if c.closed != nil {
		c.closed()
	}
	return c.Driver.Close()
}

func (w *world) publish(t *testing.T) {
	t.Helper()
	if result := w.publishAs(t, model, "sha256:tree"); result.Version != 1 || result.Percent != 100 {
		t.Fatalf("%+v", result)
	}
}

// publishAs publishes a model.yaml, made from a tree.
func (w *world) publishAs(t *testing.T, text, tree string) modelmanager.PublishResult {
	t.Helper()
	parsed, err := spec.Parse("model.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	canonical, err := parsed.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	file := archive.File{Path: "double", Size: 3, Executable: true, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("two")), nil
	}}
	if _, err := archive.Write(&packed, []archive.File{file}); err != nil {
		t.Fatal(err)
	}
	upload, err := target{w.Server}.Upload(t.Context(), "doubler", &packed)
	if err != nil {
		t.Fatal(err)
	}
	result, err := target{w.Server}.Publish(t.Context(), "doubler", modelmanager.PublishRequest{
		Spec: json.RawMessage(canonical), Artifact: modelmanager.ArtifactRef{Upload: upload.ID},
		Source: modelmanager.Source{Tree: tree},
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestShutdownFinishesCallsBeforeItEndsReplicas(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	var answered atomic.Bool
	w := start(t, func(_ platform.Workload, w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, `{"predictions":[{"y":4}]}`)
		answered.Store(true)
	}, func() {
		if !answered.Load() {
			t.Error("the driver was closed while a call was under way")
		}
	})
	w.publish(t)

	call := make(chan error, 1)
	go func() {
		response, err := http.Post("http://"+w.Address()+"/v1/models/doubler/predict", "application/json", strings.NewReader(`{"rows":[{"x":2}]}`))
		if err == nil {
			defer response.Body.Close()
			if response.StatusCode != http.StatusOK {
				err = errors.New(response.Status)
			}
		}
		call <- err
	}()
	<-entered
	w.end()
	// No new caller is taken, while the one under way goes on.
	for end := time.After(10 * time.Second); w.ready() == nil; {
		select {
		case <-time.After(time.Millisecond):
		case <-end:
			t.Fatal("a server that shuts down says that it is ready")
		}
	}
	close(release)
	if err := <-call; err != nil {
		t.Errorf("the call under way failed: %v", err)
	}
	if err := <-w.ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestAPublishedTreeIsKnown(t *testing.T) {
	w := start(t, nil, nil)
	for tree, want := range map[string]bool{"sha256:tree": false} {
		if got, err := w.published(t.Context(), "doubler", tree); got != want || err != nil {
			t.Errorf("before: %v, %v", got, err)
		}
	}
	w.publish(t)
	for tree, want := range map[string]bool{"sha256:tree": true, "sha256:other": false} {
		if got, err := w.published(t.Context(), "doubler", tree); got != want || err != nil {
			t.Errorf("%s: %v, %v", tree, got, err)
		}
	}
}

func TestAnUploadThatIsNoArchiveIsRefused(t *testing.T) {
	w := start(t, nil, nil)
	upload, err := w.uploads.Put(t.Context(), strings.NewReader("not an archive"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.artifacts.adopt(t.Context(), upload.ID); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest && modelmanager.CodeOf(err) != modelmanager.CodeInvalidInput {
		t.Errorf("got %v (%s)", err, modelmanager.CodeOf(err))
	}
	if _, err := w.artifacts.adopt(t.Context(), "nothing"); modelmanager.CodeOf(err) != modelmanager.CodeNotFound {
		t.Errorf("got %v (%s)", err, modelmanager.CodeOf(err))
	}
}

func TestASecondServerSaysThatTheAddressIsTaken(t *testing.T) {
	w := start(t, nil, nil)
	bucket, err := storage.Open(t.Context(), "mem://")
	if err != nil {
		t.Fatal(err)
	}
	_, err = New(t.Context(), Config{Listen: w.Address(), Key: make([]byte, 32), Store: store.New(), Bucket: bucket, Logger: slog.New(slog.DiscardHandler)})
	if modelmanager.CodeOf(err) != modelmanager.CodeUnavailable || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("got %v", err)
	}
}
