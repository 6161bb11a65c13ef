package api

import (
	"context"
	"maps"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/auth"
)

func TestEveryRouteHasARule(t *testing.T) {
	a := New(Config{})
	mounted := slices.Sorted(slices.Values(a.mux.mounted))
	if ruled := slices.Sorted(maps.Keys(rules())); !slices.Equal(mounted, ruled) {
		t.Errorf("mounted are\n%s\nand rules are there for\n%s", strings.Join(mounted, "\n"), strings.Join(ruled, "\n"))
	}
	var unused []auth.Verb
	for _, verb := range auth.Verbs() {
		if !slices.ContainsFunc(slices.Collect(maps.Values(rules())), func(r rule) bool { return r.verb == verb }) {
			unused = append(unused, verb)
		}
	}
	if unused != nil {
		t.Errorf("nothing needs %v", unused)
	}
	for pattern, rule := range rules() {
		named := rule.on == oneModel
		if named != strings.Contains(pattern, "{model}") || (rule.on == jobsModel) != strings.Contains(pattern, "{job}") {
			t.Errorf("%s is ruled as if it named something else", pattern)
		}
		if (rule.verb == "") != (rule.on == anybody || rule.on == somebody) {
			t.Errorf("%s needs %q", pattern, rule.verb)
		}
	}
}

// TestTheDocumentShowsTheRules holds docs/access.md against the code.
func TestTheDocumentShowsTheRules(t *testing.T) {
	data, err := os.ReadFile("../../docs/access.md")
	if err != nil {
		t.Fatal(err)
	}
	words := map[subject]string{
		anybody: "nothing", somebody: "a token", endpoint: "on the nonResourceURL", allModels: "on all models",
		oneModel: "on the model", jobsModel: "on the job's model", listed: "on all models",
	}
	for pattern, rule := range rules() {
		if pattern == "/" || strings.HasPrefix(pattern, "GET /openapi-") || pattern == "GET /openapi.yaml" {
			continue
		}
		needs := words[rule.on]
		if rule.verb != "" {
			needs = "`" + string(rule.verb) + "` " + needs
		}
		if line := "| `" + pattern + "` | " + needs; !strings.Contains(string(data), line) {
			t.Errorf("docs/access.md doesn't say %q", line)
		}
	}
}

// nobody knows one token, whose owner may do nothing.
type nobody struct{ asked *[]auth.Action }

func (nobody) Authenticate(_ context.Context, token string) (auth.Identity, error) {
	if token != "known" {
		return auth.Identity{}, modelmanager.Errorf(modelmanager.CodeUnauthenticated, "who are you?")
	}
	return auth.Identity{Name: "somebody"}, nil
}

func (n nobody) Authorize(_ context.Context, _ auth.Identity, action auth.Action) (auth.Decision, error) {
	*n.asked = append(*n.asked, action)
	return auth.Decision{Needs: "something"}, nil
}

func TestNobodyGetsMoreThanHealth(t *testing.T) {
	var asked []auth.Action
	a := New(Config{Auth: auth.New(auth.Options{Authenticator: nobody{&asked}, Authorizer: nobody{&asked}})})
	a.jobModels.put("a-job", "scorer")
	call := func(pattern, token string) (int, string, string) {
		method, path, found := strings.Cut(pattern, " ")
		if !found {
			method, path = "GET", "/"
		}
		path = strings.NewReplacer("{model}", "scorer", "{version}", "3", "{job}", "a-job").Replace(path)
		r := httptest.NewRequest(method, "http://localhost"+path, nil)
		if token != "" {
			r.Header.Set("Authorization", "bearer "+token)
		}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		return w.Code, w.Header().Get("WWW-Authenticate"), w.Body.String()
	}
	patterns := append(slices.Sorted(maps.Keys(rules())), "GET /nothing", "HEAD /v1/models", "PATCH /v1/models", "OPTIONS /v1/models/{model}")
	for _, pattern := range patterns {
		rule := rules()[pattern]
		if pattern == "HEAD /v1/models" {
			rule = rules()["GET /v1/models"]
		}
		for _, token := range []string{"", "unknown"} {
			want, challenge := 401, "Bearer"
			if token != "" {
				challenge = `Bearer error="invalid_token"`
			}
			if rule.on == anybody {
				want, challenge = 200, ""
			}
			code, got, body := call(pattern, token)
			if code != want || got != challenge || want == 401 && !strings.Contains(body, `"code":"unauthenticated"`) {
				t.Errorf("%s with the token %q: %d, %q, %s", pattern, token, code, got, body)
			}
		}
		code, _, body := call(pattern, "known")
		if rule.verb != "" && (code != 403 || !strings.Contains(body, `"code":"forbidden"`)) {
			t.Errorf("%s of somebody without rights: %d %s", pattern, code, body)
		}
		if rule.verb == "" && (code == 401 || code == 403) {
			t.Errorf("%s of somebody: %d %s", pattern, code, body)
		}
	}
	for _, action := range asked {
		if action.Model != "" && action.Model != "scorer" || action.Path != "" && action.Path != "/metrics" {
			t.Errorf("asked about %+v", action)
		}
	}
}

func TestWhatIsAskedFor(t *testing.T) {
	a := New(Config{})
	a.jobModels.put("a-job", "scorer")
	a.Auth = auth.New(auth.Options{Authenticator: nobody{}, Authorizer: nobody{}})
	for _, c := range []struct {
		rule rule
		url  string
		path [2]string
		want auth.Action
	}{
		{rule{oneModel, auth.Predict}, "/", [2]string{"model", "scorer"}, auth.Action{Verb: auth.Predict, Model: "scorer"}},
		{rule{oneModel, auth.Predict}, "/", [2]string{"model", "../scorer"}, auth.Action{Verb: auth.Predict}},
		{rule{oneModel, auth.Get}, "/", [2]string{"model", strings.Repeat("a", 41)}, auth.Action{Verb: auth.Get}},
		{rule{jobsModel, auth.Submit}, "/", [2]string{"job", "a-job"}, auth.Action{Verb: auth.Submit, Model: "scorer"}},
		{rule{listed, auth.List}, "/?model=scorer", [2]string{}, auth.Action{Verb: auth.Get, Model: "scorer"}},
		{rule{listed, auth.List}, "/?model=", [2]string{}, auth.Action{Verb: auth.List}},
		{rule{listed, auth.List}, "/?state=failed", [2]string{}, auth.Action{Verb: auth.List}},
		{rule{endpoint, auth.Get}, "/metrics", [2]string{}, auth.Action{Verb: auth.Get, Path: "/metrics"}},
	} {
		r := httptest.NewRequest("GET", "http://localhost"+c.url, nil)
		r.Header.Set("Authorization", "Bearer known")
		r.SetPathValue(c.path[0], c.path[1])
		if got, err := a.action(r, c.rule); err != nil || got != c.want {
			t.Errorf("%+v %s %v: %+v, %v", c.rule, c.url, c.path, got, err)
		}
	}
	if _, err := a.action(httptest.NewRequest("GET", "/", nil), rule{}); modelmanager.CodeOf(err) != modelmanager.CodeForbidden {
		t.Errorf("a route without a rule: %v", err)
	}
}
