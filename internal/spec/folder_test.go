package spec

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"modelmanager.dev"
)

const templateYAML = `summary: Will the customer leave?
owner: growth@example.org
labels: {use: churn, team: growth}
features:
  - {name: tenure, type: number, minimum: 0}
  - {name: plan, type: string, enum: [a, b]}
predictions: [{name: probability, type: number, minimum: 0, maximum: 1}]
run: {python: predict.py:predict}
params: {threshold: 0.5, deep: {a: 1, b: 2}}
rollout: {strategy: canary, steps: [10, 50]}
shared: [../../lib]
examples: [{features: {tenure: 3, plan: a}}]
`

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		write(t, filepath.Join(root, name), text)
	}
	return root
}

func templateTree(t *testing.T, model string) string {
	return tree(t, map[string]string{
		".git/HEAD":                          "ref",
		"lib/features.py":                    "X = 1\n",
		"lib/__pycache__/features.pyc":       "x",
		"templates/propensity/model.yaml":    templateYAML,
		"templates/propensity/predict.py":    "def predict(rows):\n    return rows\n",
		"templates/propensity/README.md":     "# Template\n",
		"templates/propensity/.venv/x":       "x",
		"templates/propensity/notes/a.tmp":   "x",
		"templates/propensity/notes/b.txt":   "x",
		"templates/propensity/.mmignore":     "# scratch\n*.tmp\n",
		"models/acme/model.yaml":             model,
		"models/acme/README.md":              "# Acme\n",
		"models/acme/data/big.csv":           "x",
		"models/acme/data/keep.csv":          "x",
		"models/acme/.mmignore":              "/data/*.csv\n!/data/keep.csv\n",
		"models/acme/nested/model.yaml":      "name: other\n",
		"models/acme/nested/secret.txt":      "x",
		"models/acme/env-of-mine/pyvenv.cfg": "home = /usr\n",
	})
}

func TestExtends(t *testing.T) {
	root := templateTree(t, "name: churn-acme\nextends: ../../templates/propensity\nparams: {threshold: 0.7, deep: {b: null, c: 3}}\nlabels: {team: null, customer: acme}\nrollout: {strategy: manual}\n")
	f, err := LoadFolder(filepath.Join(root, "models/acme"))
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, file := range f.Files {
		relative, _ := filepath.Rel(root, file.Source)
		paths = append(paths, file.Path+" "+filepath.ToSlash(relative))
	}
	want := []string{
		"README.md models/acme/README.md",
		"data/keep.csv models/acme/data/keep.csv",
		"lib/features.py lib/features.py",
		"notes/b.txt templates/propensity/notes/b.txt",
		"predict.py templates/propensity/predict.py",
	}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"threshold": 0.7, "deep": map[string]any{"a": 1.0, "b": nil, "c": 3.0}}, f.Spec.Params); diff != "" {
		t.Errorf("params (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"use": "churn", "customer": "acme"}, f.Spec.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if f.Spec.Rollout.Strategy != "manual" || len(f.Spec.Rollout.Steps) != 0 {
		t.Errorf("rollout %+v", f.Spec.Rollout)
	}
	if len(f.Warnings) != 1 || !strings.Contains(f.Warnings[0].File, "nested") {
		t.Errorf("warnings %v", f.Warnings)
	}
	if diff := cmp.Diff([]string{filepath.Join(root, "templates/propensity")}, f.Extends); diff != "" {
		t.Errorf("extends (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{filepath.Join(root, "lib")}, f.Shared); diff != "" {
		t.Errorf("shared (-want +got):\n%s", diff)
	}
	if err := f.Spec.Check(); err != nil {
		t.Errorf("the resolved spec isn't complete: %v", err)
	}

	dst := filepath.Join(t.TempDir(), "out")
	if err := f.Materialize(context.Background(), dst); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(dst, "lib/features.py")); err != nil || string(data) != "X = 1\n" {
		t.Errorf("%q, %v", data, err)
	}
	if err := f.Materialize(context.Background(), dst); modelmanager.CodeOf(err) != modelmanager.CodeConflict {
		t.Errorf("into a folder that is not empty: %v", err)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if err := f.Materialize(cancelled, filepath.Join(t.TempDir(), "x")); err == nil {
		t.Error("cancelled, and yet written")
	}
}

// relink puts a link in the place of a model's model.yaml, which is
// elsewhere.yaml from then on.
func relink(root, target string) {
	file := filepath.Join(root, "models/acme/model.yaml")
	_ = os.Rename(file, filepath.Join(root, "models/acme/elsewhere.yaml"))
	_ = os.Symlink(target, file)
}

// TestFolderProblems has folders that must be refused, and a word that the
// message must have so that the right problem was found.
func TestFolderProblems(t *testing.T) {
	const model = "name: churn-acme\nextends: ../../templates/propensity\n"
	for _, test := range []struct {
		name, model, word string
		change            func(root string)
	}{
		{name: "itself", model: "name: a\nextends: .\n", word: "leads back"},
		{name: "outside", model: "name: a\nextends: ../../..\n", word: "outside of this repository"},
		{name: "absolute", model: "name: a\nextends: /tmp\n", word: "absolute"},
		{name: "file", model: "name: a\nextends: ../../templates/propensity/model.yaml\n", word: "not a folder"},
		{name: "cycle", model: model, word: "leads back", change: func(root string) {
			_ = os.WriteFile(filepath.Join(root, "templates/propensity/model.yaml"), []byte(templateYAML+"extends: ../../models/acme\n"), 0o644)
		}},
		{name: "no model.yaml", model: "name: a\nextends: ../../lib\n", word: "there is no model.yaml"},
		{name: "link out", model: model, word: "leaves the folder", change: func(root string) { _ = os.Symlink("/etc/passwd", filepath.Join(root, "models/acme/x")) }},
		{name: "link up", model: model, word: "leads back", change: func(root string) { _ = os.Symlink(".", filepath.Join(root, "models/acme/x")) }},
		{name: "broken link", model: model, word: "leads nowhere", change: func(root string) { _ = os.Symlink("nothing", filepath.Join(root, "models/acme/x")) }},
		{name: "shared twice", model: model + "shared: [../../lib, ../other/lib]\n", word: "two shared folders", change: func(root string) { _ = os.MkdirAll(filepath.Join(root, "models/other/lib"), 0o755) }},
		{name: "shared own", model: model + "shared: [../acme]\n", word: "lies in this model's folder already"},
		{name: "shared parent", model: model + "shared: [..]\n", word: "holds this model's own folder"},
		{name: "shared hides", model: model, word: "where the model has", change: func(root string) {
			_ = os.MkdirAll(filepath.Join(root, "models/acme/lib"), 0o755)
			_ = os.WriteFile(filepath.Join(root, "models/acme/lib/features.py"), nil, 0o644)
		}},
		{name: "not executable", model: model + "run: {command: [./model]}\n", word: "can't be executed", change: func(root string) {
			_ = os.WriteFile(filepath.Join(root, "models/acme/model"), nil, 0o644)
		}},
		{name: "linked", model: model, word: `a symbolic link, to "elsewhere.yaml": what changes there would not be seen`, change: func(root string) { relink(root, "elsewhere.yaml") }},
		{name: "linked to nowhere", model: model, word: `a symbolic link, to "nowhere.yaml"`, change: func(root string) {
			relink(root, "nowhere.yaml")
			_ = os.Remove(filepath.Join(root, "models/acme/elsewhere.yaml"))
		}},
		{name: "a folder", model: model, word: "this is a folder, and should be a file", change: func(root string) {
			_ = os.Remove(filepath.Join(root, "models/acme/model.yaml"))
			_ = os.Mkdir(filepath.Join(root, "models/acme/model.yaml"), 0o755)
		}},
		{name: "too large", model: "#" + strings.Repeat("x", 2<<20), word: "at most 512 KiB"},
		{name: "template wrong", model: model, word: "minimun", change: func(root string) {
			_ = os.WriteFile(filepath.Join(root, "templates/propensity/model.yaml"), []byte(strings.Replace(templateYAML, "minimum", "minimun", 1)), 0o644)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := templateTree(t, test.model)
			if test.change != nil {
				test.change(root)
			}
			_, err := LoadFolder(filepath.Join(root, "models/acme"))
			if modelmanager.CodeOf(err) != modelmanager.CodeInvalidSpec || !strings.Contains(err.Error(), test.word) {
				t.Errorf("%s: %v", modelmanager.CodeOf(err), err)
			}
		})
	}
	if _, err := LoadFolder(filepath.Join(t.TempDir(), "none")); modelmanager.CodeOf(err) != modelmanager.CodeNotFound {
		t.Errorf("no folder: %v", err)
	}
}

func TestLinksWithin(t *testing.T) {
	root := templateTree(t, "name: churn-acme\nextends: ../../templates/propensity\n")
	model := filepath.Join(root, "models/acme")
	write(t, filepath.Join(model, "code/a.py"), "A = 1\n")
	if err := os.Symlink("code", filepath.Join(model, "alias")); err != nil {
		t.Fatal(err)
	}
	f, err := LoadFolder(model)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range f.Files {
		if file.Path == "code/a.py" || file.Path == "alias/a.py" {
			found++
		}
	}
	if found != 2 {
		t.Errorf("%+v", f.Files)
	}
}
