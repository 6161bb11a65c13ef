package kube_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/registry/kube"
)

// script answers the requests of one watch with what an apiserver says, in order.
type script struct {
	answers  []string // bodies
	requests []string // queries
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	query.Del("timeoutSeconds")
	query.Del("allowWatchBookmarks")
	s.requests = append(s.requests, query.Encode())
	w.Header().Set("Content-Type", "application/json")
	if len(s.answers) == 0 {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	fmt.Fprint(w, s.answers[0])
	s.answers = s.answers[1:]
}

func scriptedModel(name, resourceVersion string, latest int) string {
	return fmt.Sprintf(`{"kind":"Model","metadata":{"name":%q,"resourceVersion":%q},"spec":{"latest":%d}}`, name, resourceVersion, latest)
}

// watchScript runs a watch against a script until it ends.
func watchScript(t *testing.T, s *script) (told []string, err error) {
	t.Helper()
	server := httptest.NewServer(s)
	defer server.Close()
	store, err := kube.Open(&rest.Config{Host: server.URL}, kube.Options{Namespace: "models"})
	if err != nil {
		t.Fatal(err)
	}
	err = store.Watch(t.Context(), func(event registry.Event) {
		if event.Synced {
			told = append(told, "synced")
		} else {
			told = append(told, fmt.Sprintf("%s %d %s", event.Model.Name, event.Model.Latest, event.Revision))
		}
	})
	return told, err
}

// TestWatchGoesOn: the list comes in pages; a connection that the apiserver
// ends is opened again from the last change or bookmark; and a state that it
// has forgotten ends the watch.
func TestWatchGoesOn(t *testing.T) {
	s := &script{answers: []string{
		`{"metadata":{"resourceVersion":"10","continue":"more"},"items":[` + scriptedModel("a", "3", 1) + `]}`,
		`{"metadata":{"resourceVersion":"10"},"items":[` + scriptedModel("b", "4", 1) + `]}`,
		`{"type":"MODIFIED","object":` + scriptedModel("a", "11", 2) + "}\n" + `{"type":"BOOKMARK","object":{"kind":"Model","metadata":{"resourceVersion":"20"}}}` + "\n",
		`{"type":"ADDED","object":` + scriptedModel("c", "21", 1) + "}\n",
		`{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410,"message":"too old resource version"}}` + "\n",
	}}
	told, err := watchScript(t, s)
	wantCode(t, err, modelmanager.CodeUnavailable)
	if !strings.Contains(err.Error(), "listed again") {
		t.Errorf("the watch ended with %v", err)
	}
	if diff := cmp.Diff([]string{"a 1 3/", "b 1 4/", "synced", "a 2 11/", "c 1 21/"}, told); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{
		"limit=5000", "continue=more&limit=5000", "resourceVersion=10&watch=true", "resourceVersion=20&watch=true", "resourceVersion=21&watch=true",
	}, s.requests); diff != "" {
		t.Error(diff)
	}
}

// TestWatchOfNonsense: answers that can't be read end the watch, and neither
// stop it for ever nor pass for an empty registry.
func TestWatchOfNonsense(t *testing.T) {
	list := `{"metadata":{"resourceVersion":"10"},"items":[]}`
	for name, answers := range map[string][]string{
		"empty list":   {``},
		"cut list":     {`{"metadata":{"resourceVersion":"10"},"items":[` + scriptedModel("a", "3", 1)},
		"no version":   {`{"items":[]}`},
		"a page":       {`<html>`},
		"cut watch":    {list, `{"type":"ADDED","object":{"metadata"`},
		"closed watch": {list, ``},
		"strange":      {list, `{"type":"ADDED","object":7}`},
	} {
		t.Run(name, func(t *testing.T) {
			told, err := watchScript(t, &script{answers: answers})
			wantCode(t, err, modelmanager.CodeUnavailable)
			if len(answers) == 1 && cmp.Equal(told, []string{"synced"}) {
				t.Error("it passed for an empty registry")
			}
		})
	}
}
