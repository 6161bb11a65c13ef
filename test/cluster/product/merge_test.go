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
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"modelmanager.dev"
	"modelmanager.dev/test/cluster"
	"modelmanager.dev/test/program"
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
// itself, a good version replaces it, a rollback takes that back; what is lost
// is rebuilt, as it was, from an export and the images; and neither a kill nor
// a second pipeline leaves anything half done. Models of every language come,
// are rebuilt, and go.
func (i *installation) merges(t *testing.T) {
	w := &workspace{i: i, dir: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(w.dir, "models", merged), 0o755); err != nil {
		t.Fatal(err)
	}
	w.git(t, "init", "-q", "-b", "main")
	w.git(t, "remote", "add", "origin", "https://git.example.org/models.git")
	w.commit(t, mergedSpec, times(3), "three times")
	started := time.Now()
	w.publish(t, strings.Repeat("0", 40))
	i.gives(t, 2, 6, 1)
	t.Logf("from the merge to the first prediction: %s", time.Since(started).Round(time.Millisecond))

	w.commit(t, strings.Replace(mergedSpec, "maximum: 1000", "maximum: 10", 1), times(3), "only small ones")
	if report, code := w.mm(t, "validate", "--since", "HEAD~1...", "--against", i.url); code != 4 || !strings.Contains(report, "error[breaking_change]") {
		t.Errorf("validating what breaks callers ended with %d", code)
	}
	w.git(t, "reset", "-q", "--hard", "HEAD~1")

	w.commit(t, mergedSpec+mergedCanary, failsWithLarge, "a table")
	w.publish(t, "HEAD~1")
	i.goesBack(t)

	w.commit(t, mergedSpec, times(4), "four times")
	w.publish(t, "HEAD~1")
	i.gives(t, 2, 8, 3)
	w.publish(t, "HEAD~1") // again: nothing changes
	i.run(t, "models", "rollback", merged)
	i.gives(t, 200, 600, 1)
	if versions := i.rebuilt(t, w, merged); len(versions) != 3 {
		t.Errorf("%s has versions %v, want 3", merged, versions)
	}
	i.gives(t, 200, 600, 1)
	i.killedAndRunAgain(t, w)
	i.twoAtOnce(t, w)
	i.inLanguages(t, w)
}

func times(factor int) string {
	return fmt.Sprintf("def predict(rows: list):\n    return [%d * row['x'] for row in rows]\n", factor)
}

// killedAndRunAgain kills mm publish each time that it has changed something, in
// the image registry or at the server, and runs it again: each merge is one
// version, which is live.
func (i *installation) killedAndRunAgain(t *testing.T, w *workspace) {
	t.Helper()
	witness := program.NewWitness(t, "")
	for at := 1; ; at++ {
		before := len(i.versionsOf(t, merged))
		w.commit(t, mergedSpec, times(10+at), fmt.Sprint(10+at, " times"))
		command := i.program(t.Context(), i.mm, "publish", "--since", "HEAD~1", "--insecure-registry", i.Registry)
		command.Dir = w.dir
		command.Env = append(command.Env, "HTTP_PROXY="+witness.URL)
		witness.Kills(command, at, true)
		output, err := command.CombinedOutput()
		killed := program.Killed(command)
		switch {
		case killed:
			w.publish(t, "HEAD~1")
		case err != nil:
			t.Fatalf("mm publish through a proxy: %v\n%s", err, output)
		}
		if versions := i.versionsOf(t, merged); len(versions) != before+1 {
			t.Errorf("killed after change %d, and run again, it has versions %v, and had %d", at, versions, before)
		}
		i.gives(t, 2, 2*(10+at), before+1)
		if !killed {
			t.Logf("killed after each of %d changes", at-1)
			if at < 6 { // a layer, a configuration, a manifest, a tag; a version, its traffic
				t.Errorf("a publication is %d changes, seen through a proxy:\n%s", at-1, output)
			}
			return
		}
	}
}

// twoAtOnce: the pipelines of two merges run at the same time. Neither disturbs
// the other, and the later merge is what is live.
func (i *installation) twoAtOnce(t *testing.T, w *workspace) {
	t.Helper()
	w.commit(t, mergedSpec, times(50), "50 times")
	w.commit(t, mergedSpec, times(60), "60 times")
	var both sync.WaitGroup
	for _, revision := range []string{"HEAD~1", "HEAD"} {
		both.Go(func() {
			if _, code := w.mm(t, "publish", "--since", revision+"~1", "--revision", revision, "--insecure-registry", i.Registry); code != 0 {
				t.Errorf("beside another one, mm publish --revision %s ended with %d", revision, code)
			}
		})
	}
	both.Wait()
	i.gives(t, 2, 120, i.live(t, merged))
}

// live is the version that is.
func (i *installation) live(t *testing.T, model string) int {
	t.Helper()
	info, err := i.api.Model(t.Context(), model)
	if err != nil {
		t.Fatal(err)
	}
	return info.Traffic.Largest()
}

// inLanguages merges a model of each language, loses them all, restores them,
// and then takes them away.
func (i *installation) inLanguages(t *testing.T, w *workspace) {
	t.Helper()
	named := func(language string) string { return "merged-" + language }
	var all []string
	for language, model := range examples {
		all = append(all, named(language))
		folder := filepath.Join(w.dir, "models", named(language))
		if err := os.CopyFS(folder, os.DirFS(copyOf(t, model))); err != nil {
			t.Fatal(err)
		}
		edit(t, filepath.Join(folder, "model.yaml"), "name: "+model, "name: "+named(language))
	}
	w.git(t, "add", "-A")
	w.git(t, "commit", "-qm", "a model of each language")
	w.publish(t, "HEAD~1")
	for _, model := range all {
		i.answersItsExamples(t, model)
	}
	i.rebuilt(t, w, all...)
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

// rebuilt loses models' objects, and restores them: the versions of git and the
// images that are in the registry, the traffic of an export. It returns their
// versions.
func (i *installation) rebuilt(t *testing.T, w *workspace, models ...string) []string {
	t.Helper()
	state, code := w.mm(t, "export")
	if code != 0 {
		t.Fatalf("mm export ended with %d", code)
	}
	path := filepath.Join(t.TempDir(), "state.json")
	if err := os.WriteFile(path, []byte(state), 0o644); err != nil {
		t.Fatal(err)
	}
	before := i.versionsOf(t, models...)
	live := map[string]int{}
	for _, model := range models {
		live[model] = i.live(t, model)
		i.lose(t, model)
	}
	if _, code := w.mm(t, "restore", "--git", w.dir, "--insecure-registry", i.Registry); code != 0 {
		t.Fatalf("mm restore --git ended with %d", code)
	}
	if after := i.versionsOf(t, models...); !slices.Equal(before, after) {
		t.Errorf("the versions were %v, and are %v", before, after)
	}
	for _, model := range models {
		if now := i.live(t, model); now != 0 {
			t.Errorf("without an export, version %d of %s is live", now, model)
		}
	}
	if _, code := w.mm(t, "restore", path); code != 0 {
		t.Fatalf("mm restore ended with %d", code)
	}
	if after := i.versionsOf(t, models...); !slices.Equal(before, after) {
		t.Errorf("the versions were %v, and are %v", before, after)
	}
	for _, model := range models {
		if now := i.live(t, model); now != live[model] {
			t.Errorf("version %d of %s was live, and now %d is", live[model], model, now)
		}
	}
	return before
}

// versionsOf tells models' numbers, digests and images.
func (i *installation) versionsOf(t *testing.T, models ...string) (list []string) {
	t.Helper()
	for _, model := range models {
		versions, err := i.api.Versions(t.Context(), model, 0, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, version := range versions.Versions {
			list = append(list, fmt.Sprint(model, " ", version.Version, " ", version.Digest, " ", version.Artifact.Image))
		}
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
