package product_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev"
	"modelmanager.dev/test/cluster"
)

// TestProduct tries one installation, from its first model on: each part goes
// on where the one before it ended.
func TestProduct(t *testing.T) {
	i := install(t, today)
	for _, part := range []struct {
		name string
		test func(*installation, *testing.T)
	}{
		{"nobody gets in without a right", (*installation).rights},
		{"models in four languages", (*installation).languages},
		{"each language from nothing", (*installation).fromNothing},
		{"a model with a Dockerfile", (*installation).dockerfile},
		{"merges, from the first to a rebuild", (*installation).merges},
		{"a job with pods killed", (*installation).jobs},
		{"a model that means harm", (*installation).attacked},
		{"a model that names what it connects to", (*installation).connected},
		{"canary and rollback under load", (*installation).canary},
		{"replicas evicted, deleted and killed under load", (*installation).disrupted},
		{"up under load, and down to nothing", (*installation).elastic},
		{"bad models beside a good one", (*installation).contained},
		{"told why a model doesn't run", (*installation).toldWhy},
		{"measured, if asked for", (*installation).measured},
		{"replicas of the server killed in turn", (*installation).replicasKilled},
		{"the control plane gone, and back", (*installation).controlPlane},
		{"upgraded by the chart", (*installation).upgraded},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.test(i, t) }) {
			return // the parts after it would only fail with it
		}
	}
}

// rights: who has no token, or not the right one, gets nothing.
func (i *installation) rights(t *testing.T) {
	paths := []string{"/v1/models", "/v1/jobs", "/metrics", "/openapi.json", "/readyz"}
	for _, path := range paths {
		if got := i.status(t, "", "GET", path); got != 401 {
			t.Errorf("GET %s without a token: %d, want 401", path, got)
		}
	}
	if got := i.status(t, "", "GET", "/healthz"); got != 200 {
		t.Errorf("GET /healthz without a token: %d", got)
	}
	i.asksToSignIn(t, "/", "/jobs", "/operations", "/models/some-model")
	nobody := i.tokenFor(t, "nobody", "")
	caller := i.tokenFor(t, "caller", "modelmanager-caller")
	for _, c := range []struct {
		who, token, method, path string
		want                     int
	}{
		{"nobody", nobody, "GET", "/v1/models", 403},
		{"caller", caller, "GET", "/v1/models", 200},
		{"caller", caller, "GET", "/metrics", 403},
		{"caller", caller, "DELETE", "/v1/models/some-model", 403},
		{"a liar", caller[:len(caller)-4] + "AAAA", "GET", "/v1/models", 401},
	} {
		if got := i.status(t, c.token, c.method, c.path); got != c.want {
			t.Errorf("%s %s by %s: %d, want %d", c.method, c.path, c.who, got, c.want)
		}
	}
}

// asksToSignIn: every page sends who isn't known to the one that takes a token,
// which tells nothing of what there is.
func (i *installation) asksToSignIn(t *testing.T, pages ...string) {
	t.Helper()
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, page := range pages {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, i.url+page, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", "text/html")
		response, err := browser.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if to := response.Header.Get("Location"); response.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, "/sign-in?") {
			t.Errorf("GET %s without a token: %s, to %q", page, response.Status, to)
		}
	}
}

// examples are the models of the tests, by what they are made with.
var examples = map[string]string{
	"python": "tumour-malignancy", "r": "fuel-consumption", "java": "iris-species-java", "go": "iris-species-go",
}

// languages: each example is published by the CLI, called from nothing, and
// gives what its own examples say.
func (i *installation) languages(t *testing.T) {
	for language, model := range examples {
		t.Run(language, func(t *testing.T) {
			i.publish(t, copyOf(t, model))
			started := time.Now()
			i.answersItsExamples(t, model)
			t.Logf("the first answer came after %s", time.Since(started).Round(time.Millisecond))
		})
	}
	if table := i.kubectl(t, "get", "models", "-n", models); !strings.Contains(table, "tumour-malignancy") || !strings.Contains(table, "1=100") {
		t.Errorf("kubectl get models:\n%s", table)
	}
}

// fromNothing: a model of each language ends once nobody calls it, and answers
// whoever calls it then.
func (i *installation) fromNothing(t *testing.T) {
	named := func(language string) string { return "from-nothing-" + language }
	for language, model := range examples {
		folder := copyOf(t, model)
		settings := filepath.Join(folder, "model.yaml")
		edit(t, settings, "name: "+model, "name: "+named(language))
		edit(t, settings, "resources: {", "scale: {idle: 5s}\nresources: {")
		i.publish(t, folder)
		i.answersItsExamples(t, named(language))
	}
	for language := range examples {
		cluster.Eventually(t, 2*time.Minute, named(language)+" runs no more", func(ctx context.Context) (bool, string, error) {
			pods, err := i.pods(ctx, "modelmanager.dev/model="+named(language))
			return len(pods) == 0, fmt.Sprintf("%d pods", len(pods)), err
		})
		started := time.Now()
		i.answersItsExamples(t, named(language))
		t.Logf("%s from nothing to an answer: %s", language, time.Since(started).Round(time.Millisecond))
		if err := i.api.Retire(t.Context(), named(language), "the test is over"); err != nil {
			t.Error(err)
		}
	}
}

func (i *installation) answersItsExamples(t *testing.T, model string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	info, err := i.api.Model(ctx, model)
	if err != nil {
		t.Fatal(err)
	}
	var spec struct {
		Examples []struct {
			Features    json.RawMessage
			Predictions map[string]any
			Tolerance   float64
		}
	}
	if err := json.Unmarshal(info.Spec, &spec); err != nil {
		t.Fatal(err)
	}
	var rows []json.RawMessage
	for _, example := range spec.Examples {
		rows = append(rows, example.Features)
	}
	answer, err := i.api.Predict(ctx, model, 0, modelmanager.PredictRequest{Rows: rows})
	if err != nil {
		t.Fatal(err)
	}
	for n, example := range spec.Examples {
		var got map[string]any
		if err := json.Unmarshal(answer.Predictions[n], &got); err != nil {
			t.Fatal(err)
		}
		for name, want := range example.Predictions {
			if !near(want, got[name], example.Tolerance) {
				t.Errorf("example %d: %s is %v, want %v", n, name, got[name], want)
			}
		}
	}
}

// near compares values of JSON, numbers within a tolerance.
func near(want, got any, tolerance float64) bool {
	switch want := want.(type) {
	case float64:
		number, ok := got.(float64)
		return ok && math.Abs(number-want) <= tolerance+1e-9
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return false
		}
		for i := range want {
			if !near(want[i], list[i], tolerance) {
				return false
			}
		}
		return true
	}
	return want == got
}

// pods lists the pods of a model, or of a job.
func (i *installation) pods(ctx context.Context, selector string) ([]corev1.Pod, error) {
	list, err := i.Client.CoreV1().Pods(models).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// copyOf is an example's folder that a test may change. It asks for less of a
// processor: all of them have to find a place on one small node.
func copyOf(t *testing.T, model string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), model)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "examples", "models", model))); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "model.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "resources: {") {
		edit(t, path, "resources: {", "resources: {cpu: 100m, ")
	} else {
		edit(t, path, "run:\n", "resources: {cpu: 100m}\nrun:\n")
	}
	return dir
}

func edit(t *testing.T, path, old, replacement string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), old, replacement, 1)
	if changed == string(text) {
		t.Fatalf("%s has no %q", path, old)
	}
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
}
