package product_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"modelmanager.dev"
	"modelmanager.dev/test/cluster"
)

const merged = "tripler"

// What a data scientist commits, one after the other.
const (
	mergedSpec = `name: tripler
summary: Some times the number.
owner: tests@example.org
features: [{name: x, type: integer, maximum: 1000}]
predictions: [{name: y, type: integer}]
run: {python: predict.py:predict}
resources: {cpu: 100m, memory: 128Mi}
examples: [{features: {x: 2}}]
`
	mergedCanary   = "rollout: {strategy: canary, steps: [50], pause: 10s, back_when: {errors: 0.1}}\n"
	threeTimes     = "def predict(rows: list):\n    return [3 * row['x'] for row in rows]\n"
	fourTimes      = "def predict(rows: list):\n    return [4 * row['x'] for row in rows]\n"
	failsWithLarge = `def predict(rows: list):
    if any(row["x"] > 100 for row in rows):
        raise RuntimeError("the table ends at 100")
    return [3 * row["x"] for row in rows]
`
)

// workspace is a data scientist's clone.
type workspace struct {
	i   *installation
	dir string
}

func (w *workspace) git(t *testing.T, args ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "git", args...)
	command.Dir = w.dir
	command.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.org")
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, output)
	}
}

func (w *workspace) commit(t *testing.T, spec, code, message string) {
	t.Helper()
	for name, text := range map[string]string{"model.yaml": spec, "predict.py": code} {
		if err := os.WriteFile(filepath.Join(w.dir, "models", merged, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w.git(t, "add", "-A")
	w.git(t, "commit", "-qm", message)
}

// mm runs the program in the clone, and returns what it wrote and its exit code.
func (w *workspace) mm(t *testing.T, args ...string) (string, int) {
	t.Helper()
	command := w.i.program(t.Context(), w.i.mm, args...)
	command.Dir = w.dir
	var out, problems bytes.Buffer
	command.Stdout, command.Stderr = &out, &problems
	err := command.Run()
	t.Logf("mm %s\n%s%s", strings.Join(args, " "), tail(out.Bytes(), 3000), &problems)
	if err != nil && command.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), command.ProcessState.ExitCode()
}

// publish does what the pipeline does after a merge.
func (w *workspace) publish(t *testing.T, since string) {
	t.Helper()
	if _, code := w.mm(t, "publish", "--since", since, "--insecure-registry", w.i.Registry); code != 0 {
		t.Fatalf("mm publish ended with %d", code)
	}
}

// merges is a model's life by merges alone: the first one makes it, a pull
// request that breaks callers is told so, a canary that fails goes back by
// itself, a good version replaces it, a rollback takes that back; and what is
// lost is rebuilt, as it was, from an export and the images. Models of every
// language come and go by merges.
func (i *installation) merges(t *testing.T) {
	w := &workspace{i: i, dir: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(w.dir, "models", merged), 0o755); err != nil {
		t.Fatal(err)
	}
	w.git(t, "init", "-q", "-b", "main")
	w.git(t, "remote", "add", "origin", "https://git.example.org/models.git")
	w.commit(t, mergedSpec, threeTimes, "three times")
	started := time.Now()
	w.publish(t, strings.Repeat("0", 40))
	i.gives(t, 2, 6, 1)
	t.Logf("from the merge to the first prediction: %s", time.Since(started).Round(time.Millisecond))

	w.commit(t, strings.Replace(mergedSpec, "maximum: 1000", "maximum: 10", 1), threeTimes, "only small ones")
	if report, code := w.mm(t, "validate", "--since", "HEAD~1...", "--against", i.url); code != 4 || !strings.Contains(report, "error[breaking_change]") {
		t.Errorf("validating what breaks callers ended with %d", code)
	}
	w.git(t, "reset", "-q", "--hard", "HEAD~1")

	w.commit(t, mergedSpec+mergedCanary, failsWithLarge, "a table")
	w.publish(t, "HEAD~1")
	i.goesBack(t)

	w.commit(t, mergedSpec, fourTimes, "four times")
	w.publish(t, "HEAD~1")
	i.gives(t, 2, 8, 3)
	w.publish(t, "HEAD~1") // again: nothing changes
	i.run(t, "models", "rollback", merged)
	i.gives(t, 200, 600, 1)
	i.rebuilt(t, w)
	i.inLanguages(t, w)
}

// inLanguages merges a model of each language, and then takes them away.
func (i *installation) inLanguages(t *testing.T, w *workspace) {
	t.Helper()
	named := func(language string) string { return "merged-" + language }
	for language, model := range examples {
		folder := filepath.Join(w.dir, "models", named(language))
		if err := os.CopyFS(folder, os.DirFS(copyOf(t, model))); err != nil {
			t.Fatal(err)
		}
		edit(t, filepath.Join(folder, "model.yaml"), "name: "+model, "name: "+named(language))
	}
	w.git(t, "add", "-A")
	w.git(t, "commit", "-qm", "a model of each language")
	w.publish(t, "HEAD~1")
	for language := range examples {
		i.answersItsExamples(t, named(language))
		w.git(t, "rm", "-rq", filepath.Join("models", named(language)))
	}
	w.git(t, "commit", "-qm", "and gone")
	w.publish(t, "HEAD~1")
	for language := range examples {
		if _, err := i.api.Model(t.Context(), named(language)); modelmanager.CodeOf(err) != modelmanager.CodeRetired {
			t.Errorf("%s, whose folder is gone: %v", named(language), err)
		}
	}
}

// gives waits until a version answers, which it does rightly.
func (i *installation) gives(t *testing.T, x, want, version int) {
	t.Helper()
	request := modelmanager.PredictRequest{Rows: []json.RawMessage{json.RawMessage(fmt.Sprintf(`{"x": %d}`, x))}}
	cluster.Eventually(t, 2*time.Minute, fmt.Sprintf("version %d answers", version), func(ctx context.Context) (bool, string, error) {
		answer, err := i.api.Predict(ctx, merged, 0, request)
		if err != nil || answer.Version != version {
			return false, fmt.Sprintf("version %d answered", answer.Version), err
		}
		if got := string(answer.Predictions[0]); got != fmt.Sprintf(`{"y":%d}`, want) {
			t.Fatalf("version %d predicts %s, want %d", version, got, want)
		}
		return true, "", nil
	})
}

// goesBack calls a canary that fails half of the calls that it gets, until it
// has gone back by itself. The version before fails none.
func (i *installation) goesBack(t *testing.T) {
	t.Helper()
	request := modelmanager.PredictRequest{Rows: []json.RawMessage{json.RawMessage(`{"x": 200}`)}}
	answered, failed := 0, 0
	cluster.Eventually(t, 3*time.Minute, "the canary has gone back", func(ctx context.Context) (bool, string, error) {
		for range 20 {
			if answer, err := i.api.Predict(ctx, merged, 0, request); err == nil && answer.Version == 1 {
				answered++
			} else if modelmanager.CodeOf(err) == modelmanager.CodeModelError {
				failed++
			} else {
				return false, "", fmt.Errorf("version %d answered: %w", answer.Version, err)
			}
		}
		info, err := i.api.Model(ctx, merged)
		if err != nil {
			return false, "", err
		}
		return info.Traffic.By == modelmanager.ByRollout && info.Traffic.Largest() == 1 && len(info.Traffic.Versions) == 1,
			fmt.Sprintf("%d answered, %d failed, traffic %v", answered, failed, info.Traffic.Versions), nil
	})
	history, err := i.api.TrafficHistory(t.Context(), merged)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("after %d calls that failed, and %d that didn't: %s", failed, answered, history.History[0].Reason)
	if !strings.Contains(history.History[0].Reason, "went back") {
		t.Errorf("the history says %q", history.History[0].Reason)
	}
	for range 50 {
		if answer, err := i.api.Predict(t.Context(), merged, 0, request); err != nil || answer.Version != 1 {
			t.Fatalf("after it went back: version %d, %v", answer.Version, err)
		}
	}
}

// rebuilt loses a model's objects, and restores them: the versions of git and the
// images that are in the registry, the traffic of an export.
func (i *installation) rebuilt(t *testing.T, w *workspace) {
	t.Helper()
	state, code := w.mm(t, "export")
	if code != 0 {
		t.Fatalf("mm export ended with %d", code)
	}
	path := filepath.Join(t.TempDir(), "state.json")
	if err := os.WriteFile(path, []byte(state), 0o644); err != nil {
		t.Fatal(err)
	}
	before := i.versionsOf(t, merged)
	i.lose(t, merged)
	if _, code := w.mm(t, "restore", "--git", w.dir, "--insecure-registry", i.Registry); code != 0 {
		t.Fatalf("mm restore --git ended with %d", code)
	}
	if after := i.versionsOf(t, merged); !slices.Equal(before, after) {
		t.Errorf("the versions were %v, and are %v", before, after)
	}
	if info, err := i.api.Model(t.Context(), merged); err != nil || info.Traffic.Largest() != 0 {
		t.Errorf("without an export, version %d is live, %v", info.Traffic.Largest(), err)
	}
	if _, code := w.mm(t, "restore", path); code != 0 {
		t.Fatalf("mm restore ended with %d", code)
	}
	if after := i.versionsOf(t, merged); !slices.Equal(before, after) || len(after) != 3 {
		t.Errorf("the versions were %v, and are %v", before, after)
	}
	i.gives(t, 200, 600, 1)
}

// versionsOf tells a model's numbers, digests and images.
func (i *installation) versionsOf(t *testing.T, model string) (list []string) {
	t.Helper()
	versions, err := i.api.Versions(t.Context(), model, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range versions.Versions {
		list = append(list, fmt.Sprint(version.Version, " ", version.Digest, " ", version.Artifact.Image))
	}
	return list
}

// lose deletes a model and its versions behind the servers' backs.
func (i *installation) lose(t *testing.T, model string) {
	t.Helper()
	client, err := dynamic.NewForConfig(i.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, resource := range []string{"modelversions", "models"} {
		objects := client.Resource(schema.GroupVersionResource{Group: "modelmanager.dev", Version: "v1alpha1", Resource: resource}).Namespace(models)
		list, err := objects.List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range list.Items {
			if name := object.GetName(); name == model || strings.HasPrefix(name, model+"-") || strings.HasPrefix(name, model+".") {
				if err := objects.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	cluster.Eventually(t, time.Minute, "the servers know that the model is gone", func(ctx context.Context) (bool, string, error) {
		_, err := i.api.Model(ctx, model)
		return modelmanager.CodeOf(err) == modelmanager.CodeNotFound, fmt.Sprint(err), nil
	})
}
