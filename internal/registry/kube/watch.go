package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
)

const (
	pageSize    = 5000             // objects of one answer
	listLimit   = 30 * time.Second // without anything of a list, until it counts as lost
	quietLimit  = 3 * time.Minute  // without a change or a bookmark; the apiserver sends one about every minute
	watchPeriod = 10 * time.Minute // after which the apiserver ends a connection, by our own wish
	shortest    = time.Second      // a connection that ends sooner, with nothing told, isn't opened again
)

// Watch implements registry.Store. It lists all models, in pages, then follows
// the changes. Where the apiserver ends the connection, it goes on from the
// last change, and where that can't be, because the apiserver is away or has
// forgotten so old a state, it ends with an error. An object that somebody has
// deleted is told as a retired model.
func (s *Store) Watch(ctx context.Context, event func(registry.Event)) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &watch{store: s, event: event, silence: time.AfterFunc(listLimit, func() { cancel(errTimeout) })}
	defer w.silence.Stop()
	if err := w.list(ctx); err != nil {
		return watchError(ctx, "listing the models", err)
	}
	event(registry.Event{Synced: true})
	for {
		if err := s.check(ctx); err != nil {
			return err
		}
		if err := w.follow(ctx); err != nil {
			return watchError(ctx, "following the models", err)
		}
	}
}

func watchError(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), errTimeout) {
		return ctx.Err()
	}
	return failedIn(ctx, doing, err)
}

// watch is one call of Watch.
type watch struct {
	store           *Store
	event           func(registry.Event)
	resourceVersion string
	changes         int
	silence         *time.Timer // ends a connection on which nothing comes
}

// list tells of every model there is, and of those that are gone since an
// earlier watch told of them.
func (w *watch) list(ctx context.Context) error {
	before := w.store.roster.begin()
	var buffer bytes.Buffer
	next := ""
	for {
		request := w.store.request(w.store.client.Get(), models).Param("limit", strconv.Itoa(pageSize))
		if next != "" {
			request = request.Param("continue", next)
		}
		stream, err := request.Stream(ctx)
		if err == nil {
			next, err = w.readPage(stream, &buffer)
			stream.Close()
		}
		if err != nil {
			w.store.roster.restore(before)
			return err
		}
		if next == "" {
			break
		}
	}
	for _, name := range w.store.roster.missing(before) {
		w.tellGone(modelmanager.Model{Name: name})
	}
	return nil
}

// readPage tells of the models of a page, and returns the token of the next one.
func (w *watch) readPage(stream io.Reader, buffer *bytes.Buffer) (next string, err error) {
	page, err := readList(heard{stream, w.silence}, buffer, func(item []byte) { w.tell(item, true) })
	w.resourceVersion = page.resourceVersion
	return page.next, err
}

// heard puts off the end of a connection whenever something comes.
type heard struct {
	stream  io.Reader
	silence *time.Timer
}

func (h heard) Read(p []byte) (int, error) {
	n, err := h.stream.Read(p)
	h.silence.Reset(listLimit)
	return n, err
}

// tell tells of one model, whose object is new to this watch or not.
func (w *watch) tell(item []byte, isNew bool) {
	model, revision, problems := readModel(item)
	if len(problems) > 0 {
		w.store.options.Logger.Warn("an object of a model can't be read in full", "namespace", w.store.options.Namespace, "model", model.Name, "problems", problems)
	}
	if model.Name == "" {
		return
	}
	if isNew {
		w.store.roster.add(model.Name)
	}
	w.event(registry.Event{Model: model, Revision: revision})
}

// tellGone tells that a model's object was deleted. A registry's models are
// retired, not removed: the name stays taken where it is remembered, and comes
// back with the next publication.
func (w *watch) tellGone(model modelmanager.Model) {
	const reason = "its object was deleted from the cluster"
	at := time.Now().UTC().Truncate(time.Microsecond)
	if last := model.Traffic().At; !at.After(last) {
		at = last.Add(time.Microsecond)
	}
	model.Latest = max(model.Latest, 1)
	model.History = []modelmanager.Traffic{{At: at, Reason: reason}}
	model.Retired = &modelmanager.Change{At: at, Reason: reason}
	w.store.roster.remove(model.Name)
	w.event(registry.Event{Model: model})
}

// follow tells of the changes since the resource version, until the apiserver
// ends the connection in good order.
func (w *watch) follow(ctx context.Context) error {
	start, before := time.Now(), w.changes
	stream, err := w.store.request(w.store.client.Get(), models).
		Param("watch", "true").Param("allowWatchBookmarks", "true").
		Param("resourceVersion", w.resourceVersion).
		Param("timeoutSeconds", strconv.Itoa(int(watchPeriod.Seconds()))).
		Stream(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	decoder := json.NewDecoder(stream)
	var change struct {
		Type   string
		Object json.RawMessage
	}
	for {
		w.silence.Reset(quietLimit)
		change.Object = change.Object[:0]
		err := decoder.Decode(&change)
		if errors.Is(err, io.EOF) && (w.changes > before || time.Since(start) > shortest) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the connection was lost: %w", err)
		}
		if err := w.take(change.Type, change.Object); err != nil {
			return err
		}
	}
}

// take handles one change.
func (w *watch) take(kind string, object json.RawMessage) error {
	if kind == "ERROR" {
		status := &apierrors.StatusError{}
		if err := json.Unmarshal(object, &status.ErrStatus); err != nil {
			return fmt.Errorf("the apiserver sent an error that can't be read: %w", err)
		}
		if status.ErrStatus.Code == http.StatusGone {
			return errors.New("the apiserver has forgotten the state that was followed; everything must be listed again")
		}
		return status
	}
	var o struct {
		Metadata struct{ ResourceVersion string }
	}
	if err := json.Unmarshal(object, &o); err != nil {
		return fmt.Errorf("the apiserver sent a change that can't be read: %w", err)
	}
	w.resourceVersion = o.Metadata.ResourceVersion
	w.changes++
	switch kind {
	case "ADDED", "MODIFIED":
		w.tell(object, kind == "ADDED")
	case "DELETED":
		if model, _, _ := readModel(object); model.Name != "" {
			w.tellGone(model)
		}
	}
	return nil
}
