// Package ci holds what CI systems run for a repository of models: thin around
// mm. Its test runs their steps for real, with a real repository and server.
package ci

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/goccy/go-yaml"

	"modelmanager.dev/test/program"
)

// mm is the program that CI runs.
var mm string

func TestMain(m *testing.M) { os.Exit(program.Main(m, &mm)) }

// world is a repository, a server, and programs that record how they are called.
type world struct {
	t      *testing.T
	dir    string
	repo   string
	server string
	fakes  string
	forge  string // the API of GitHub, or GitLab

	mu   sync.Mutex
	made []string // comments
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, dir: dir, repo: filepath.Join(dir, "repo"), fakes: filepath.Join(dir, "fakes")}
	forge := httptest.NewServer(w)
	t.Cleanup(forge.Close)
	w.forge = forge.URL
	w.serve()
	w.run(dir, nil, "git", "init", "-q", "-b", "main", w.repo)
	w.model("tripler", 3)
	w.commit("the first models")
	return w
}

func (w *world) write(name, content string, mode os.FileMode) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), mode); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) model(name string, factor int) {
	folder := filepath.Join(w.repo, "models", name)
	w.write(filepath.Join(folder, "model.yaml"), "name: "+name+"\nsummary: Some times the number.\nowner: tests@example.org\n"+
		"features: [{name: x, type: integer}]\npredictions: [{name: y, type: integer}]\nrun: {python: predict.py:predict}\nexamples: [{features: {x: 2}}]\n", 0o644)
	w.write(filepath.Join(folder, "predict.py"), "def predict(rows: list):\n    return ["+strings.Repeat("row[\"x\"] + ", factor)+"0 for row in rows]\n", 0o644)
}

func (w *world) commit(message string) string {
	w.t.Helper()
	w.run(w.repo, nil, "git", "add", "-A")
	w.run(w.repo, nil, "git", "commit", "-qm", message)
	return w.run(w.repo, nil, "git", "rev-parse", "HEAD")
}

// run runs a program and returns what it printed.
func (w *world) run(dir string, env map[string]string, name string, arguments ...string) string {
	w.t.Helper()
	output, err := w.try(dir, env, name, arguments...)
	if err != nil {
		w.t.Fatalf("%s %q: %v\n%s", name, arguments, err, output)
	}
	return strings.TrimSpace(output)
}

func (w *world) try(dir string, env map[string]string, name string, arguments ...string) (string, error) {
	command := exec.CommandContext(w.t.Context(), name, arguments...)
	command.Dir = dir
	command.Env = append(os.Environ(), "PATH="+strings.Join([]string{filepath.Dir(mm), w.fakes, os.Getenv("PATH")}, ":"),
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.org",
		"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1")
	for name, value := range env {
		command.Env = append(command.Env, name+"="+value)
	}
	output, err := command.CombinedOutput()
	return string(output), err
}

// serve starts a real server, which ends with the test.
func (w *world) serve() {
	w.t.Helper()
	server, err := program.Start(context.Background(), program.Options{
		MM: mm, Data: filepath.Join(w.dir, "data"), Log: filepath.Join(w.dir, "server.log"),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := server.Stop(syscall.SIGTERM); err != nil {
			w.t.Error(err)
		}
	})
	w.server = server.URL
}

// comments are the calls that made or changed comments.
func (w *world) comments() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.made)
}

// ServeHTTP is a forge without comments: it notes those that are made.
func (w *world) ServeHTTP(out http.ResponseWriter, request *http.Request) {
	if request.Method == http.MethodGet {
		fmt.Fprint(out, "[]")
		return
	}
	body, _ := io.ReadAll(request.Body)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.made = append(w.made, fmt.Sprintf("%s %s %s", request.Method, request.URL.Path, body))
}

func (w *world) versions(model string) string {
	return w.run(w.dir, map[string]string{"MM_SERVER": w.server}, mm, "models", "versions", model)
}

// expression is one of GitHub's, which may stand in env and nowhere else: in a
// run it would be put into the shell's text.
var (
	expression = regexp.MustCompile(`\$\{\{ *([^}]*?) *\}\}`)
	pinned     = regexp.MustCompile(`^[a-z-]+/[a-z-]+@[0-9a-f]{40}$`)
)

// workflow is what a workflow of GitHub's says.
type workflow struct {
	Defaults struct{ Run struct{ Shell string } }
	Jobs     map[string]struct {
		Steps []struct {
			Name  string
			Uses  string
			If    string
			Env   map[string]string
			Shell string
			Run   string
			With  map[string]any
		}
	}
}

// shell is how GitHub runs a step: pipefail is on only where bash is named.
func (w workflow) shell(t *testing.T, step string) []string {
	t.Helper()
	switch shell := cmp.Or(step, w.Defaults.Run.Shell); shell {
	case "":
		return []string{"bash", "-e", "-c"}
	case "bash":
		return []string{"bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"}
	default:
		t.Fatalf("an unknown shell %q", shell)
		return nil
	}
}

// TestFailuresAreNotLost runs the lines of the workflows that call mm with one
// that fails: so must each.
func TestFailuresAreNotLost(t *testing.T) {
	w := &world{t: t, dir: t.TempDir()}
	w.fakes = filepath.Join(w.dir, "fakes")
	w.write(filepath.Join(w.fakes, "mm"), "#!/bin/sh\necho \"mm $1 fails\"\nexit 4\n", 0o755)
	w.write(filepath.Join(w.fakes, "git"), "#!/bin/sh\n", 0o755)
	path := w.fakes + string(filepath.ListSeparator) + os.Getenv("PATH")
	env := map[string]string{"PATH": path, "GITHUB_STEP_SUMMARY": filepath.Join(w.dir, "summary"), "MM_SERVER": "http://models.example.org"}
	tried := map[string]bool{}
	check := func(name string, shell []string, script string) {
		t.Helper()
		output, err := w.try(w.dir, env, shell[0], append(shell[1:], script)...)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 4 {
			t.Errorf("%s: mm exits with 4, the step with: %v\n%s", name, err, output)
		}
		for _, command := range []string{"mm validate", "mm publish"} {
			if strings.Contains(output, command+" fails") {
				tried[name[:6]+" "+command] = true
			}
		}
	}
	var github workflow
	read(t, "github/models.yml", &github)
	for job, steps := range github.Jobs {
		for _, step := range steps.Steps {
			if strings.Contains(step.Run, "mm validate") || strings.Contains(step.Run, "mm publish") {
				check("GitHub, "+job+": "+step.Name, github.shell(t, step.Shell), step.Run)
			}
		}
	}
	var gitlab map[string]struct{ Script []string }
	read(t, "gitlab/models.yml", &gitlab)
	for job, steps := range gitlab {
		if len(steps.Script) == 0 {
			continue
		}
		// Where an image has no bash, GitLab's runner takes sh.
		for _, shell := range [][]string{{"bash", "-eo", "pipefail", "-c"}, {"sh", "-e", "-c"}} {
			check("GitLab, "+job+" in "+shell[0], shell, strings.Join(steps.Script, "\n"))
		}
	}
	if len(tried) != 4 {
		t.Errorf("only these were tried: %v", tried)
	}
}

func TestGitHubWorkflow(t *testing.T) {
	w := newWorld(t)
	var workflow workflow
	read(t, "github/models.yml", &workflow)
	job := func(name string, values map[string]string) (string, error) {
		t.Helper()
		var all strings.Builder
		var failed error
		for _, step := range workflow.Jobs[name].Steps {
			if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["fetch-depth"] != uint64(0) {
				t.Errorf("%s: the checkout is shallow: %v", name, step.With)
			}
			if step.Uses != "" && !pinned.MatchString(step.Uses) {
				t.Errorf("%s: %s may change: name it by its commit", name, step.Uses)
			}
			if step.Run == "" || failed != nil && step.If != "always()" {
				continue
			}
			if expression.MatchString(step.Run) {
				t.Errorf("%s: %s: an expression in a run", name, step.Name)
			}
			env := map[string]string{
				"GITHUB_STEP_SUMMARY": filepath.Join(w.dir, "summary"), "GITHUB_API_URL": w.forge, "GITHUB_REPOSITORY": "clinic/models", "GITHUB_REF": "refs/pull/7/merge",
			}
			for key, value := range step.Env {
				env[key] = expression.ReplaceAllStringFunc(value, func(text string) string {
					known, found := values[expression.FindStringSubmatch(text)[1]]
					if !found || name == "validate" && strings.Contains(text, "publish-token") {
						t.Errorf("%s: %s: %s has no value", name, step.Name, text)
					}
					return known
				})
			}
			shell := workflow.shell(t, step.Shell)
			output, err := w.try(w.repo, env, shell[0], append(shell[1:], step.Run)...)
			all.WriteString(output)
			if err != nil && failed == nil {
				failed = err
			}
		}
		return all.String(), failed
	}
	base := w.run(w.repo, nil, "git", "rev-parse", "HEAD")
	values := map[string]string{
		"inputs.server": w.server, "inputs.install": "true", "secrets.validate-token": "to-validate", "secrets.publish-token": "to-publish", "github.token": "t", "runner.temp": w.dir,
		"inputs.files-from": "", "inputs.buildkit": "", "github.event.pull_request.base.sha": base,
		"github.event.before": strings.Repeat("0", 40), "github.sha": base,
	}
	if output, err := job("publish", values); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if got := w.versions("tripler"); !strings.Contains(got, "100%") {
		t.Fatalf("after the first push:\n%s", got)
	}

	w.run(w.repo, nil, "git", "checkout", "-qb", "work")
	w.model("tripler", 4)
	w.model("doubler", 2)
	good := w.commit("four times")
	if output, err := job("validate", values); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if got := w.comments(); len(got) != 1 || !strings.HasPrefix(got[0], "POST /repos/clinic/models/issues/7/comments ") || !strings.Contains(got[0], "doubler") {
		t.Errorf("the comments are %q", got)
	}
	summary, _ := os.ReadFile(filepath.Join(w.dir, "summary"))
	if !strings.Contains(string(summary), "doubler") || !strings.Contains(string(summary), "tripler") {
		t.Errorf("the report: %s", summary)
	}

	// A server that can't be asked, or isn't named: nobody knows what breaks.
	for _, server := range []string{"http://127.0.0.1:1", ""} {
		values["inputs.server"] = server
		if output, err := job("validate", values); err == nil {
			t.Errorf("it passes without the server %q:\n%s", server, output)
		}
	}
	values["inputs.server"] = w.server
	values["github.event.before"], values["github.sha"] = base, good
	if output, err := job("publish", values); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if got := w.versions("doubler"); !strings.Contains(got, "100%") {
		t.Fatalf("after the merge:\n%s", got)
	}

	w.write(filepath.Join(w.repo, "models/doubler/predict.py"), "nonsense(", 0o644)
	values["github.sha"] = w.commit("broken")
	if output, err := job("validate", values); err == nil || !strings.Contains(output, "::error") {
		t.Errorf("a broken model passes, or is not annotated: %v\n%s", err, output)
	}
	values["github.event.before"] = good
	if output, err := job("publish", values); err == nil {
		t.Errorf("a broken model is published:\n%s", output)
	}
}

func TestGitLabPipeline(t *testing.T) {
	w := newWorld(t)
	var jobs map[string]struct {
		Variables map[string]string
		Before    []string `yaml:"before_script"`
		Script    []string
		After     []string `yaml:"after_script"`
	}
	read(t, "gitlab/models.yml", &jobs)
	if jobs[".models"].Variables["GIT_DEPTH"] != "0" {
		t.Error("the clone is shallow")
	}
	env := map[string]string{
		"MM_SERVER": w.server, "MM_INSTALL": "true", "MM_GITLAB_TOKEN": "t", "CI_API_V4_URL": w.forge, "CI_PROJECT_ID": "3",
		"CI_MERGE_REQUEST_IID": "7",
	}
	job := func(name string) (string, error) {
		output, err := w.try(w.repo, env, "bash", "-eo", "pipefail", "-c", strings.Join(append(jobs[".models"].Before, jobs[name].Script...), "\n"))
		after, afterErr := w.try(w.repo, env, "bash", "-c", strings.Join(jobs[name].After, "\n"))
		if afterErr != nil {
			t.Errorf("after_script: %v", afterErr)
		}
		return output + after, err
	}
	base := w.run(w.repo, nil, "git", "rev-parse", "HEAD")
	env["CI_COMMIT_BEFORE_SHA"], env["CI_COMMIT_SHA"], env["CI_MERGE_REQUEST_DIFF_BASE_SHA"] = strings.Repeat("0", 40), base, base
	if output, err := job("models-publish"); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	w.model("tripler", 4)
	env["CI_COMMIT_BEFORE_SHA"], env["CI_COMMIT_SHA"] = base, w.commit("four times")
	if output, err := job("models-validate"); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if got := w.comments(); len(got) != 1 || !strings.HasPrefix(got[0], "POST /projects/3/merge_requests/7/notes ") || !strings.Contains(got[0], "tripler") {
		t.Errorf("the comments are %q", got)
	}
	if _, err := os.Stat(filepath.Join(w.repo, "models.xml")); err != nil {
		t.Error(err)
	}
	for _, server := range []string{"http://127.0.0.1:1", ""} {
		env["MM_SERVER"] = server
		if output, err := job("models-validate"); err == nil {
			t.Errorf("it passes without the server %q:\n%s", server, output)
		}
	}
	env["MM_SERVER"] = w.server
	if output, err := job("models-publish"); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if got := w.versions("tripler"); !strings.Contains(got, "\n2 ") {
		t.Fatalf("after the merge:\n%s", got)
	}
}

func read(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}
