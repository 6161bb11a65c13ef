package pipeline

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"modelmanager.dev"
)

// forge is a pull request's comments, as GitHub and GitLab keep them.
type forge struct {
	mu       sync.Mutex
	comments []comment
	calls    []string
	next     int64
	refuse   bool
	raced    bool // another run comments when the first comment is made
}

func (f *forge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, r.Method)
	if r.Header.Get("Authorization") != "Bearer t" && r.Header.Get("PRIVATE-TOKEN") != "t" || f.refuse && r.Method != http.MethodGet {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	var body comment
	_ = json.NewDecoder(r.Body).Decode(&body)
	id, _ := strconv.ParseInt(filepath.Base(r.URL.Path), 10, 64)
	at := slices.IndexFunc(f.comments, func(c comment) bool { return c.ID == id })
	switch {
	case r.Method == http.MethodGet:
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		from := min((page-1)*100, len(f.comments))
		_ = json.NewEncoder(w).Encode(f.comments[from:min(from+100, len(f.comments))])
	case r.Method == http.MethodPost:
		if f.raced {
			f.add(body.Body)
		}
		f.add(body.Body)
		w.WriteHeader(http.StatusCreated)
	case at < 0:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodDelete:
		f.comments = slices.Delete(f.comments, at, at+1)
		w.WriteHeader(http.StatusNoContent)
	default:
		f.comments[at].Body = body.Body
	}
}

func (f *forge) add(body string) {
	f.next++
	f.comments = append(f.comments, comment{ID: f.next, Body: body})
}

func TestOneComment(t *testing.T) {
	f := &forge{}
	mux := http.NewServeMux()
	mux.Handle("/repos/clinic/models/issues/7/comments", f)
	mux.Handle("/repos/clinic/models/issues/comments/", f)
	mux.Handle("/projects/3/merge_requests/7/notes", f)
	mux.Handle("/projects/3/merge_requests/7/notes/", f)
	server := httptest.NewServer(mux)
	defer server.Close()
	event := filepath.Join(t.TempDir(), "event.json")
	write(t, event, `{"pull_request": {"number": 7}}`)
	for name, env := range map[string]map[string]string{
		"github": {"GITHUB_API_URL": server.URL, "GITHUB_REPOSITORY": "clinic/models", "GITHUB_REF": "refs/pull/7/merge", "GITHUB_TOKEN": "t"},
		"event":  {"GITHUB_API_URL": server.URL, "GITHUB_REPOSITORY": "clinic/models", "GITHUB_EVENT_PATH": event, "GH_TOKEN": "t"},
		"gitlab": {"CI_API_V4_URL": server.URL, "CI_PROJECT_ID": "3", "CI_MERGE_REQUEST_IID": "7", "MM_GITLAB_TOKEN": "t"},
	} {
		t.Run(name, func(t *testing.T) {
			*f = forge{raced: true}
			for i := range 230 { // more than a page
				f.add(fmt.Sprintf("somebody's %d, on %s", i, commentMarker))
			}
			comments, err := CommentsOf(func(name string) string { return env[name] })
			if err != nil {
				t.Fatal(err)
			}
			for _, report := range []string{"one", "two", "two"} {
				if err := comments.Put(t.Context(), report); err != nil {
					t.Fatal(err)
				}
				if len(f.comments) != 231 || f.comments[230].Body != commentMarker+report {
					t.Fatalf("%d comments, the last of them %+v", len(f.comments), f.comments[len(f.comments)-1])
				}
			}
			if changes := strings.ReplaceAll(strings.Join(f.calls, " "), "GET ", ""); changes != "POST DELETE PATCH GET" && changes != "POST DELETE PUT GET" {
				t.Errorf("the calls are %s", changes)
			}
			f.refuse = true
			if err := comments.Put(t.Context(), "three"); modelmanager.CodeOf(err) != modelmanager.CodeForbidden {
				t.Errorf("refused: %v", err)
			}
		})
	}
	for want, env := range map[modelmanager.Code]map[string]string{
		modelmanager.CodeBadRequest:      {"GITHUB_REPOSITORY": "clinic/models", "GITHUB_REF": "refs/heads/main", "GITHUB_TOKEN": "t"},
		modelmanager.CodeUnauthenticated: {"GITHUB_REPOSITORY": "clinic/models", "GITHUB_REF": "refs/pull/7/merge"},
	} {
		if _, err := CommentsOf(func(name string) string { return env[name] }); modelmanager.CodeOf(err) != want {
			t.Errorf("%v: %v", env, err)
		}
	}
}
