package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"modelmanager.dev"
)

// script is an API server that answers lists and watches as it is told.
type script struct {
	lists   [][]string // pages of names; a page that ends with "…" has another after it
	watches []func(*watch.FakeWatcher)
	refuse  error // of the watch after the last
	from    []string
	said    []string
}

func (s *script) pod(name, version string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: version}}
}

func (s *script) source() source[*corev1.Pod] {
	return source[*corev1.Pod]{
		name: "pods",
		list: func(_ context.Context, options metav1.ListOptions) ([]*corev1.Pod, metav1.ListMeta, error) {
			if len(s.lists) == 0 {
				return nil, metav1.ListMeta{}, errors.New("connection refused")
			}
			names := s.lists[0]
			s.lists = s.lists[1:]
			var pods []*corev1.Pod
			meta := metav1.ListMeta{ResourceVersion: "10"}
			for _, name := range names {
				if name == "…" {
					meta.Continue = "more"
					continue
				}
				pods = append(pods, s.pod(name, "5"))
			}
			return pods, meta, nil
		},
		watch: func(_ context.Context, options metav1.ListOptions) (watch.Interface, error) {
			s.from = append(s.from, options.ResourceVersion)
			if len(s.watches) == 0 {
				return nil, s.refuse
			}
			w := watch.NewFakeWithChanSize(10, false)
			s.watches[0](w)
			s.watches = s.watches[1:]
			return w, nil
		},
	}
}

func (s *script) replace(all []*corev1.Pod) {
	names := make([]string, len(all))
	for i, pod := range all {
		names[i] = pod.Name
	}
	s.said = append(s.said, fmt.Sprint("all ", names))
}
func (s *script) set(pod *corev1.Pod)    { s.said = append(s.said, "set "+pod.Name) }
func (s *script) remove(pod *corev1.Pod) { s.said = append(s.said, "remove "+pod.Name) }

func TestAWatchIsTakenUpWhereItEnded(t *testing.T) {
	s := &script{
		lists: [][]string{{"a", "…"}, {"b"}, {"b", "d"}},
		watches: []func(*watch.FakeWatcher){
			func(w *watch.FakeWatcher) {
				w.Add(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "c", ResourceVersion: "11"}})
				w.Action(watch.Bookmark, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "20"}})
				w.Stop() // it was its time
			},
			func(w *watch.FakeWatcher) {
				w.Delete(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", ResourceVersion: "21"}})
				w.Error(&apierrors.NewResourceExpired("too old").ErrStatus)
			},
			func(w *watch.FakeWatcher) {
				w.Modify(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "d", ResourceVersion: "12"}})
				w.Stop()
			},
		},
		refuse: errors.New("connection refused"),
	}
	err := follow(t.Context(), s.source(), s)
	if modelmanager.CodeOf(err) != modelmanager.CodeUnavailable {
		t.Errorf("it ended with %v", err)
	}
	if want := []string{"all [a b]", "set c", "remove a", "all [b d]", "set d"}; !slices.Equal(s.said, want) {
		t.Errorf("it said %q, want %q", s.said, want)
	}
	if want := []string{"10", "20", "10", "12"}; !slices.Equal(s.from, want) {
		t.Errorf("it watched from %q, want %q", s.from, want)
	}
}

func TestAVersionThatIsGoneIsListedAnew(t *testing.T) {
	s := &script{lists: [][]string{{"a"}}, refuse: apierrors.NewResourceExpired("compacted")}
	if err := follow(t.Context(), s.source(), s); modelmanager.CodeOf(err) != modelmanager.CodeUnavailable {
		t.Errorf("it ended with %v", err) // of the second list, which is refused
	}
	if want := []string{"10"}; !slices.Equal(s.from, want) {
		t.Errorf("it watched from %q, want %q", s.from, want)
	}
}

func TestAServerThatEndsWatchesAtOnceIsLost(t *testing.T) {
	stop := func(w *watch.FakeWatcher) { w.Stop() }
	s := &script{lists: [][]string{{"a"}}, watches: []func(*watch.FakeWatcher){stop, stop, stop}}
	if err := follow(t.Context(), s.source(), s); !errors.Is(err, errShortWatch) {
		t.Errorf("it ended with %v", err)
	}
}
