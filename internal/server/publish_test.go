package server

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modelmanager.dev"
	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/pipeline"
	"modelmanager.dev/internal/repository"
)

// repo is a real git repository of models.
type repo struct {
	t   *testing.T
	dir string
}

func (r repo) git(arguments ...string) string {
	r.t.Helper()
	command := exec.Command("git", arguments...)
	command.Dir = r.dir
	command.Env = append(os.Environ(), "GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada",
		"GIT_COMMITTER_EMAIL=ada@example.org", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1")
	output, err := command.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %q: %v\n%s", arguments, err, output)
	}
	return strings.TrimSpace(string(output))
}

func (r repo) model(name string, answer int) {
	r.t.Helper()
	folder := filepath.Join(r.dir, name)
	text := "name: " + name + "\nsummary: A number.\nowner: tests@example.org\nfeatures: [{name: x, type: integer}]\n" +
		"predictions: [{name: y, type: integer}]\nrun: {python: predict.py:predict}\nexamples: [{features: {x: 2}}]\n"
	if err := os.MkdirAll(folder, 0o755); err != nil {
		r.t.Fatal(err)
	}
	for file, content := range map[string]string{"model.yaml": text, "predict.py": fmt.Sprintf("def predict(rows: list):\n    return [%d for row in rows]\n", answer)} {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(content), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r repo) commit() string {
	r.git("add", "-A")
	r.git("commit", "-qm", "a change\n\nApproved-by: Bea")
	return r.git("rev-parse", "HEAD")
}

// models makes a repository with two commits: the second changes a, removes b,
// moves c and adds d.
func models(t *testing.T) (r repo, first, second string) {
	t.Helper()
	r = repo{t: t, dir: t.TempDir()}
	r.git("init", "-q", "-b", "main", ".")
	r.git("remote", "add", "origin", "https://git.example.org/models.git")
	for i, name := range []string{"a", "b", "c"} {
		r.model(name, i)
	}
	first = r.commit()
	r.model("a", 10)
	r.model("d", 3)
	r.git("rm", "-rq", "b")
	r.git("mv", "c", "moved")
	return r, first, r.commit()
}

// publishes runs a pipeline of a commit.
func (r repo) publishes(ctx context.Context, server pipeline.Destination, environments, from, to string) ([]pipeline.Outcome, error) {
	r.t.Helper()
	opened, err := repository.Open(ctx, r.dir)
	if err != nil {
		return nil, err
	}
	span, err := pipeline.ResolveSpan(ctx, opened, from, to)
	if err != nil {
		return nil, err
	}
	publisher := &pipeline.Publisher{Server: server, Validator: &pipeline.Validator{Environments: &environment.Manager{Dir: environments}}}
	plan, err := publisher.Plan(ctx, span, nil)
	if err != nil {
		return nil, err
	}
	defer plan.Close()
	return publisher.Execute(ctx, plan, nil)
}

// state is what a server has, as text.
func (w *world) state(t *testing.T) map[string]string {
	t.Helper()
	state := map[string]string{}
	for _, name := range []string{"a", "b", "c", "d"} {
		model, err := w.registry.Get(t.Context(), name)
		if modelmanager.CodeOf(err) == modelmanager.CodeNotFound {
			continue
		}
		versions, err := w.registry.Versions(t.Context(), name, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("retired %v, traffic %v of %.7s:", model.Retired != nil, model.Traffic().Versions, model.Traffic().Commit)
		for _, version := range versions {
			text += fmt.Sprintf(" %d %s", version.Number, version.Digest)
		}
		state[name] = text
	}
	return state
}

// dying is a server whose caller dies at a call that changes something, when it
// is done but not yet answered.
type dying struct {
	pipeline.Destination
	mu   sync.Mutex
	left int
	die  context.CancelFunc
}

func (d *dying) call(ctx context.Context, do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err := do()
	if d.left--; d.left == 0 {
		d.die()
		return ctx.Err()
	}
	return err
}

func (d *dying) Upload(ctx context.Context, name string, data io.Reader) (upload modelmanager.Upload, err error) {
	err = d.call(ctx, func() (err error) { upload, err = d.Destination.Upload(ctx, name, data); return err })
	return upload, err
}

func (d *dying) Publish(ctx context.Context, model string, request modelmanager.PublishRequest, key string) (result modelmanager.PublishResult, err error) {
	err = d.call(ctx, func() (err error) { result, err = d.Destination.Publish(ctx, model, request, key); return err })
	return result, err
}

func (d *dying) RollOut(ctx context.Context, model string, version int, request modelmanager.RolloutRequest) (traffic modelmanager.Traffic, err error) {
	err = d.call(ctx, func() (err error) { traffic, err = d.Destination.RollOut(ctx, model, version, request); return err })
	return traffic, err
}

func (d *dying) RetireFor(ctx context.Context, model, reason, commit string, seen time.Time) error {
	return d.call(ctx, func() error { return d.Destination.RetireFor(ctx, model, reason, commit, seen) })
}

func TestAPublicationKilledAnywhereAndRunAgain(t *testing.T) {
	r, first, second := models(t)
	nothing, environments := strings.Repeat("0", 40), t.TempDir()
	w := start(t, nil, nil)
	for _, commits := range [][2]string{{nothing, first}, {first, second}} {
		if outcomes, err := r.publishes(t.Context(), target{w.Server}, environments, commits[0], commits[1]); err != nil {
			t.Fatalf("%v: %+v", err, outcomes)
		}
	}
	want := w.state(t)
	if version, err := w.registry.Version(t.Context(), "a", 2); err != nil || version.ApprovedBy != "Bea" {
		t.Errorf("version 2 of a was approved by %q (%v)", version.ApprovedBy, err)
	}
	if !strings.HasPrefix(want["a"], "retired false, traffic [{2 100}]") || !strings.HasPrefix(want["b"], "retired true") || len(want) != 4 {
		t.Fatalf("%q", want)
	}
	const calls = 8 // a: upload, publish, roll out; b: retire; c: roll out; d: as a
	for dies := 1; dies <= calls; dies++ {
		w := start(t, nil, nil)
		if _, err := r.publishes(t.Context(), target{w.Server}, environments, nothing, first); err != nil {
			t.Fatal(err)
		}
		ctx, die := context.WithCancel(t.Context())
		if _, err := r.publishes(ctx, &dying{Destination: target{w.Server}, left: dies, die: die}, environments, first, second); err == nil {
			t.Fatalf("it didn't die at call %d", dies)
		}
		if _, err := r.publishes(t.Context(), target{w.Server}, environments, first, second); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, w.state(t)); diff != "" {
			t.Errorf("killed after call %d, and run again: (-want +got)\n%s", dies, diff)
		}
		w.end()
	}
}

// late is a server whose caller is overtaken just before it changes traffic.
type late struct {
	pipeline.Destination
	overtake func()
	once     sync.Once
}

func (l *late) RollOut(ctx context.Context, model string, version int, request modelmanager.RolloutRequest) (modelmanager.Traffic, error) {
	l.once.Do(l.overtake)
	return l.Destination.RollOut(ctx, model, version, request)
}

func TestAnOlderPipelineIsOvertaken(t *testing.T) {
	r, first, second := models(t)
	r.model("a", 0) // as it was at first: a revert
	third := r.commit()
	environments := t.TempDir()
	w := start(t, nil, nil)
	if _, err := r.publishes(t.Context(), target{w.Server}, environments, strings.Repeat("0", 40), first); err != nil {
		t.Fatal(err)
	}
	// The third commit's pipeline does all it does while the second's is about to
	// give its versions traffic: also where that changes nothing that can be seen.
	overtake := func() {
		if _, err := r.publishes(t.Context(), target{w.Server}, environments, second, third); err != nil {
			t.Error(err)
		}
	}
	outcomes, err := r.publishes(t.Context(), &late{Destination: target{w.Server}, overtake: overtake}, environments, first, second)
	if err != nil {
		t.Fatal(err)
	}
	for _, outcome := range outcomes {
		if outcome.Err != nil {
			t.Errorf("%s: %v", outcome.Model, outcome.Err)
		}
	}
	state := w.state(t)
	if want := fmt.Sprintf("retired false, traffic [{1 100}] of %.7s", third); !strings.HasPrefix(state["a"], want) {
		t.Errorf("a is %q, not %q", state["a"], want)
	}
	if !strings.HasPrefix(state["d"], "retired false, traffic [{1 100}]") {
		t.Errorf("d is %q", state["d"])
	}
}

// features gives a model other features.
func (r repo) features(name, features string) {
	r.t.Helper()
	file := filepath.Join(r.dir, name, "model.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		r.t.Fatal(err)
	}
	changed := strings.Replace(string(text), "features: [{name: x, type: integer}]", "features: ["+features+"]", 1)
	if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// forgetful is a server that can't say what a version is.
type forgetful struct{ pipeline.Destination }

func (forgetful) Version(context.Context, string, int) (modelmanager.VersionInfo, error) {
	return modelmanager.VersionInfo{}, modelmanager.Errorf(modelmanager.CodeUnavailable, "not now")
}

func TestWhatBreaksCallersIsNotPublished(t *testing.T) {
	r := repo{t: t, dir: t.TempDir()}
	r.git("init", "-q", "-b", "main", ".")
	r.git("remote", "add", "origin", "https://git.example.org/models.git")
	r.model("a", 1)
	first := r.commit()
	r.features("a", "{name: x, type: integer, maximum: 10}")
	second := r.commit()
	environments := t.TempDir()
	w := start(t, nil, nil)
	publish := func(server pipeline.Destination, from, to string) error {
		t.Helper()
		outcomes, err := r.publishes(t.Context(), server, environments, from, to)
		if err == nil && len(outcomes) != 1 {
			t.Fatalf("%+v", outcomes)
		}
		if err != nil {
			return err
		}
		return outcomes[0].Err
	}
	if err := publish(target{w.Server}, strings.Repeat("0", 40), first); err != nil {
		t.Fatal(err)
	}
	before := w.state(t)
	unchanged := func(when string) {
		t.Helper()
		if diff := cmp.Diff(before, w.state(t)); diff != "" {
			t.Errorf("%s: %s", when, diff)
		}
	}
	err := publish(target{w.Server}, first, second)
	if modelmanager.CodeOf(err) != modelmanager.CodeInvalidSpec || !strings.Contains(err.Error(), "--allow-breaking=a") || !strings.Contains(err.Error(), "maximum") {
		t.Errorf("a narrower range: %v", err)
	}
	unchanged("refused")
	if err := publish(forgetful{target{w.Server}}, first, second); modelmanager.CodeOf(err) != modelmanager.CodeUnavailable {
		t.Errorf("with a server that can't be asked: %v", err)
	}
	unchanged("not asked")

	// Somebody else's version goes live while this one is published: it is
	// compared with that one, too.
	r.git("checkout", "-qb", "wider", first)
	r.features("a", "{name: x, type: integer}, {name: z, type: integer, default: 0, optional: true}")
	wider := r.commit()
	r.git("checkout", "-qb", "other", first)
	r.model("a", 2)
	other := r.commit()
	overtake := func() {
		if err := publish(target{w.Server}, first, wider); err != nil {
			t.Error(err)
		}
	}
	err = publish(&late{Destination: target{w.Server}, overtake: overtake}, first, other)
	if modelmanager.CodeOf(err) != modelmanager.CodeInvalidSpec || !strings.Contains(err.Error(), "which is live") {
		t.Errorf("overtaken: %v", err)
	}
	if state := w.state(t)["a"]; !strings.Contains(state, "of "+wider[:7]) {
		t.Errorf("the traffic is %s", state)
	}

	// What a commit allows is published, and what a later one does is not.
	r.git("commit", "-q", "--allow-empty", "-m", "Callers know\n\nAllow-Breaking: b, a")
	allowed := r.git("rev-parse", "HEAD")
	if err := publish(target{w.Server}, first, allowed); err != nil {
		t.Errorf("allowed: %v", err)
	}
	if state := w.state(t)["a"]; !strings.Contains(state, "of "+allowed[:7]) {
		t.Errorf("the traffic is %s", state)
	}
	r.features("a", "{name: x, type: integer, maximum: 10}")
	if err := publish(target{w.Server}, allowed, r.commit()); modelmanager.CodeOf(err) != modelmanager.CodeInvalidSpec {
		t.Errorf("the next change: %v", err)
	}
}

// answering is a server whose versions answer, but for some models'.
type answering struct {
	pipeline.Destination
	mu    sync.Mutex
	fails string   // a model
	asked []string // models, in order
}

func (a *answering) Predict(_ context.Context, model string, version int, request modelmanager.PredictRequest) (modelmanager.PredictResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, model)
	if len(request.Rows) != 1 || model == a.fails {
		return modelmanager.PredictResponse{}, modelmanager.Errorf(modelmanager.CodeModelError, "it fails with %d rows", len(request.Rows))
	}
	return modelmanager.PredictResponse{Model: model, Version: version}, nil
}

// template makes a repository of five models that extend a template, m3 of which
// can't bear a greater plus than 4.
func template(t *testing.T) (r repo, plus func(int) string, first string) {
	t.Helper()
	r = repo{t: t, dir: t.TempDir()}
	r.git("init", "-q", "-b", "main", ".")
	r.git("remote", "add", "origin", "https://git.example.org/models.git")
	r.write("template/model.yaml", "summary: A number.\nowner: tests@example.org\nfeatures: [{name: x, type: integer}]\n"+
		"predictions: [{name: y, type: integer}]\nrun: {python: predict.py:predict}\nexamples: [{features: {x: 2}}]\n")
	for i := 1; i <= 5; i++ {
		r.write(fmt.Sprintf("m%d/model.yaml", i), fmt.Sprintf("name: m%d\nextends: ../template\nparams: {most: %d}\n", i, map[bool]int{true: 4, false: 100}[i == 3]))
	}
	plus = func(n int) string {
		t.Helper()
		r.write("template/predict.py", fmt.Sprintf("def predict(rows: list, params):\n    assert params[\"most\"] >= %d\n    return [row[\"x\"] + %d for row in rows]\n", n, n))
		return r.commit()
	}
	return r, plus, plus(1)
}

func (r repo) write(name, content string) {
	r.t.Helper()
	name = filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// became says what became of each model: its version, × if it failed, h if it was held.
func became(outcomes []pipeline.Outcome) string {
	var all []string
	for _, outcome := range outcomes {
		text := fmt.Sprint(outcome.Model, "=", outcome.Version)
		if outcome.Held {
			text = outcome.Model + "=h"
		} else if outcome.Err != nil {
			text += "×"
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestATemplatesChangeGoesInStages(t *testing.T) {
	r, plus, first := template(t)
	environments := t.TempDir()
	w := start(t, nil, nil)
	server := &answering{Destination: target{w.Server}}
	publish := func(from, to, want string) {
		t.Helper()
		outcomes, err := r.publishes(t.Context(), server, environments, from, to)
		if got := became(outcomes); err != nil || got != want {
			t.Errorf("it became %s, not %s, %v", got, want, err)
			for _, outcome := range outcomes {
				if outcome.Err != nil {
					t.Logf("%s: %v", outcome.Model, outcome.Err)
				}
			}
		}
	}
	publish(strings.Repeat("0", 40), first, "m1=1 m2=1 m3=1 m4=1 m5=1")
	if len(server.asked) > 0 {
		t.Errorf("what isn't one change was asked: %v", server.asked)
	}

	// All are published, and the first three are asked before the others go.
	second := plus(2)
	server.fails = "m2"
	publish(first, second, "m1=2 m2=2× m3=2 m4=h m5=h")
	if got := w.trafficOf(t, "m4"); !strings.Contains(got, "{1 100}") {
		t.Errorf("m4 is held, and has %s", got)
	}
	// Run again it is the same, until m2 answers; then the others follow.
	publish(first, second, "m1=2 m2=2× m3=2 m4=h m5=h")
	server.fails, server.asked = "", nil
	publish(first, second, "m1=2 m2=2 m3=2 m4=2 m5=2")
	if slices.Sort(server.asked); strings.Join(server.asked, " ") != "m1 m2 m3" {
		t.Errorf("asked were %v", server.asked)
	}

	// One that doesn't even pass its examples holds the others, too, until a later
	// commit mends it.
	third := plus(5)
	publish(second, third, "m1=3 m2=3 m3=0× m4=h m5=h")
	r.write("m3/model.yaml", "name: m3\nextends: ../template\nparams: {most: 9}\n")
	fourth := r.commit()
	publish(second, fourth, "m1=3 m2=3 m3=3 m4=3 m5=3")

	// It does so too where each model's own files changed with it, as after all of
	// them have been trained again.
	for i := range 5 {
		r.write(fmt.Sprintf("m%d/weights", i+1), "trained again")
	}
	server.fails, server.asked = "m3", nil
	again := plus(4)
	publish(fourth, again, "m1=4 m2=4 m3=4× m4=h m5=h")
	if slices.Sort(server.asked); strings.Join(slices.Compact(server.asked), " ") != "m1 m2 m3" {
		t.Errorf("asked were %v", server.asked)
	}
	server.fails = ""
	publish(fourth, again, "m1=4 m2=4 m3=4 m4=4 m5=4")
	fourth = again

	// A roll-back by hand, of one of the first, ends it as well.
	fifth := plus(6)
	server.fails = "m1"
	publish(fourth, fifth, "m1=5× m2=5 m3=5 m4=h m5=h")
	if _, err := w.registry.Rollback(t.Context(), "m1", modelmanager.Change{By: "ada", Reason: "it is wrong"}, nil); err != nil {
		t.Fatal(err)
	}
	server.fails = ""
	publish(fourth, fifth, "m1=5× m2=5 m3=5 m4=h m5=h")
}

func (w *world) trafficOf(t *testing.T, model string) string {
	t.Helper()
	record, err := w.registry.Get(t.Context(), model)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(record.Traffic().Versions)
}
