package kube

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"modelmanager.dev"
)

// source is a kind of object to be followed.
type source[T metav1.Object] struct {
	name     string
	selector string
	list     func(context.Context, metav1.ListOptions) (items []T, meta metav1.ListMeta, err error)
	watch    func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// observer takes what there is, then each change.
type observer[T metav1.Object] interface {
	replace(all []T)
	set(object T)
	remove(object T)
}

const pageSize = 500

// follow tells an observer of all objects, then of each change, until ctx ends
// or the API server is lost, which is its error.
func follow[T metav1.Object](ctx context.Context, s source[T], o observer[T]) error {
	for {
		version, err := s.all(ctx, o)
		if err != nil {
			return err
		}
		for err == nil {
			version, err = s.changes(ctx, version, o)
		}
		// The server no longer has the changes since then: what there is now says
		// what they came to.
		if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
			return err
		}
	}
}

func (s source[T]) all(ctx context.Context, o observer[T]) (version string, err error) {
	options := metav1.ListOptions{LabelSelector: s.selector, Limit: pageSize}
	var all []T
	for {
		items, meta, err := s.list(ctx, options)
		if err != nil {
			return "", unreachable("listing "+s.name, err)
		}
		all = append(all, items...)
		if meta.Continue == "" {
			o.replace(all)
			return meta.ResourceVersion, nil
		}
		options.Continue = meta.Continue
	}
}

// changes follows one watch to its end. Without an error it is to be taken up
// at the version that it returns: watches end after a while.
func (s source[T]) changes(ctx context.Context, version string, o observer[T]) (string, error) {
	limit := int64(300 + rand.IntN(300))
	w, err := s.watch(ctx, metav1.ListOptions{
		LabelSelector: s.selector, ResourceVersion: version, AllowWatchBookmarks: true, TimeoutSeconds: &limit,
	})
	if err != nil {
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			return version, err
		}
		return version, unreachable("watching "+s.name, err)
	}
	defer w.Stop()
	started, told := time.Now(), false
	for event := range w.ResultChan() {
		told = true
		object, ok := event.Object.(T)
		if event.Type == watch.Error || !ok {
			err := apierrors.FromObject(event.Object)
			if status, ok := err.(apierrors.APIStatus); ok && status.Status().Code == http.StatusGone {
				return version, err
			}
			return version, unreachable("watching "+s.name, err)
		}
		version = object.GetResourceVersion()
		switch event.Type {
		case watch.Added, watch.Modified:
			o.set(object)
		case watch.Deleted:
			o.remove(object)
		}
	}
	if ctx.Err() != nil {
		return version, ctx.Err()
	}
	if !told && time.Since(started) < time.Second {
		// A server that ends watches at once would be asked again and again.
		return version, modelmanager.Errorf(modelmanager.CodeUnavailable, "watching %s: %w", s.name, errShortWatch)
	}
	return version, nil
}

var errShortWatch = fmt.Errorf("the API server ended the watch at once")
