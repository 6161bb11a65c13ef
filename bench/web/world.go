package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"modelmanager.dev"
	"modelmanager.dev/client"
	"modelmanager.dev/internal/archive"
	"modelmanager.dev/internal/auth"
	authlocal "modelmanager.dev/internal/auth/local"
	leaderlocal "modelmanager.dev/internal/leader/local"
	"modelmanager.dev/internal/peers"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/control"
	driver "modelmanager.dev/internal/platform/memory"
	"modelmanager.dev/internal/registry/memory"
	"modelmanager.dev/internal/server"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/storage"
)

// world is a whole server in this process, with objects on the disk, whose
// replicas and workers are functions.
type world struct {
	models     int
	address    string
	api        *client.Client
	dir        string
	store      *memory.Store
	bucket     *storage.Bucket
	driver     *driver.Driver
	key        func(platform.Ref) string
	run        []platform.Ref    // versions that shall run
	jobs       map[string]string // ids by kind
	oldJobs    int
	checks     map[string]string // addresses of the page that checks a file, by model
	secondPage string            // token of the catalogue's

	stop  context.CancelFunc
	ended chan error
}

// newWorld starts a server of so many models.
func newWorld(ctx context.Context, models int) (_ *world, err error) {
	w := &world{models: models, store: memory.New(), jobs: map[string]string{}, checks: map[string]string{}, ended: make(chan error, 1), stop: func() {}}
	if w.run, err = fill(ctx, w.store, models); err != nil {
		return nil, err
	}
	if w.dir, err = os.MkdirTemp("", "bench-web-"); err != nil {
		return nil, err
	}
	if err := w.serve(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(w.dir))
	}
	return w, nil
}

func (w *world) serve(ctx context.Context) (err error) {
	if w.bucket, err = storage.Open(ctx, "file://"+filepath.ToSlash(w.dir)); err != nil {
		return err
	}
	if err := w.writeCards(ctx); err != nil {
		return err
	}
	s, err := server.New(ctx, server.Config{
		Listen: "127.0.0.1:0", Key: bytes.Repeat([]byte{7}, 32), Store: w.store, Bucket: w.bucket,
		Driver: func(host server.Host) (platform.Driver, error) {
			w.key = host.Key
			w.driver, err = driver.New(driver.Options{
				Predict: predict, Load: load, Task: task,
				Backoff: control.Backoff{First: time.Hour, Most: time.Hour}, // what fails stays so
			})
			return w.driver, err
		},
		Elector: leaderlocal.Alone{}, Peers: peers.None{},
		Auth:   auth.New(auth.Options{Authenticator: authlocal.Everybody{}, Authorizer: authlocal.Everybody{}}),
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	w.address = "http://" + s.Address()
	if w.api, err = client.New(w.address); err != nil {
		return err
	}
	ctx, w.stop = context.WithCancel(context.WithoutCancel(ctx))
	go func() { w.ended <- s.Run(ctx, nil) }()
	return w.wait(ctx, func() (bool, error) {
		_, err := fetch(ctx, w.address+"/readyz", "identity", http.StatusOK)
		return err == nil, nil
	})
}

// wait waits until done, while the server runs.
func (w *world) wait(ctx context.Context, done func() (bool, error)) error {
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case err := <-w.ended:
			w.ended <- nil
			return errors.Join(errors.New("the server ended"), err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (w *world) close() error {
	w.stop()
	return errors.Join(<-w.ended, os.RemoveAll(w.dir))
}

// live lets the versions run and be called, and the jobs be done.
func (w *world) live(ctx context.Context) error {
	for _, step := range []func(context.Context) error{w.startReplicas, w.callAll, w.runJobs, w.checkFiles} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	list, err := w.api.Models(ctx, client.ModelQuery{Limit: 50})
	w.secondPage = list.NextPageToken
	return err
}

const cardName = "README.md"

func archiveKey(i int) string { return fmt.Sprintf("artifacts/%064x.tar.zst", i) }

// writeCards writes the archives of the models' folders.
func (w *world) writeCards(ctx context.Context) error {
	var card strings.Builder
	card.WriteString("# How this model was made\n\nIt is *calibrated*, and [reviewed](https://example.org/reviews) each quarter.\n")
	for i := range 40 {
		fmt.Fprintf(&card, "\n## Part %d\n\nStays of **%d** patients were followed for %d days; see `notes/%d.md`.\n\n", i, i*977, i*7, i)
		card.WriteString("| group | stays | rate |\n|---|---|---|\n")
		for row := range 6 {
			fmt.Fprintf(&card, "| %s | %d | %.3f |\n", stems[(i+row)%10], i*100+row*31, float64(i*row%97)/97)
		}
	}
	text := card.String()
	for i := range cards {
		var packed bytes.Buffer
		file := archive.File{Path: cardName, Size: int64(len(text)), Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
		if _, err := archive.Write(&packed, []archive.File{file}); err != nil {
			return err
		}
		if err := w.bucket.WriteAll(ctx, archiveKey(i), packed.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// startReplicas starts what shall run, and waits until each version is as its
// spec says.
func (w *world) startReplicas(ctx context.Context) error {
	want := map[modelmanager.HealthState]int{}
	for _, ref := range w.run {
		version, err := w.store.Version(ctx, ref.Model, ref.Version)
		if err != nil {
			return err
		}
		parsed, err := spec.FromCanonical(version.Spec)
		if err != nil {
			return err
		}
		replicas, state := 1, modelmanager.Healthy
		switch parsed.Params[loads] {
		case loadsNot:
			state = modelmanager.Unhealthy
		case loadsNever:
			state = modelmanager.Starting
		case loadsOnce:
			replicas, state = 2, modelmanager.Degraded
		}
		want[state]++
		if err := w.driver.Scale(ctx, platform.Workload{Version: version, Spec: parsed, Key: w.key(ref)}, replicas); err != nil {
			return err
		}
	}
	for _, model := range []string{name(2 * longEach), wideName} {
		for line := range 2000 {
			w.driver.Log(platform.Ref{Model: model, Version: longVersions}, fmt.Sprintf("2026-01-01T00:00:00.000Z INFO row %d of a call was predicted in %d µs by the tree number %d", line, line*37%911, line*7919%500))
		}
	}
	deadline := time.Now().Add(time.Minute)
	return w.wait(ctx, func() (bool, error) {
		activity, err := w.api.Activity(ctx)
		if err != nil {
			return false, err
		}
		got := map[modelmanager.HealthState]int{}
		for _, version := range activity.Versions {
			got[version.Health.State]++
		}
		for state, n := range want {
			if got[state] == n {
				continue
			}
			if time.Now().After(deadline) {
				return false, fmt.Errorf("a minute after they were started, versions are %v, and should be %v", got, want)
			}
			return false, nil
		}
		return true, nil
	})
}

// callAll calls each version that answers a few times.
func (w *world) callAll(ctx context.Context) error {
	activity, err := w.api.Activity(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, version := range activity.Versions {
		if version.Health.State != modelmanager.Healthy && version.Health.State != modelmanager.Degraded {
			continue
		}
		group.Go(func() error {
			for range i%3 + 1 {
				if err := w.call(ctx, version.Model, version.Version); err != nil {
					return fmt.Errorf("calling version %d of %s: %w", version.Version, version.Model, err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func (w *world) call(ctx context.Context, model string, version int) error {
	info, err := w.api.Version(ctx, model, version)
	if err != nil {
		return err
	}
	parsed, err := spec.FromCanonical(string(info.Spec))
	if err != nil {
		return err
	}
	row, err := jsonOf(parsed.Examples[0].Features)
	if err != nil {
		return err
	}
	_, err = w.api.Predict(ctx, model, version, modelmanager.PredictRequest{Rows: row})
	return err
}
