package pipeline

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelmanager.dev"
)

// gitRepository is a real repository in a folder of the test's.
type gitRepository struct {
	t   *testing.T
	dir string
}

func newGitRepository(t *testing.T) *gitRepository {
	t.Helper()
	g := &gitRepository{t: t, dir: t.TempDir()}
	g.git("init", "-q", "-b", "main", ".")
	return g
}

func (g *gitRepository) git(arguments ...string) string {
	g.t.Helper()
	command := exec.Command("git", arguments...)
	command.Dir = g.dir
	command.Env = append(os.Environ(), "GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada",
		"GIT_COMMITTER_EMAIL=ada@example.org", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1")
	output, err := command.CombinedOutput()
	if err != nil {
		g.t.Fatalf("git %q: %v\n%s", arguments, err, output)
	}
	return strings.TrimSpace(string(output))
}

// write writes files: path, content, path, content.
func (g *gitRepository) write(files ...string) {
	g.t.Helper()
	for i := 0; i < len(files); i += 2 {
		name := filepath.Join(g.dir, files[i])
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			g.t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(files[i+1]), 0o644); err != nil {
			g.t.Fatal(err)
		}
	}
}

// commit commits all there is, and returns the commit's hash.
func (g *gitRepository) commit(files ...string) string {
	g.t.Helper()
	g.write(files...)
	g.git("add", "-A")
	g.git("commit", "-q", "--allow-empty", "-m", "a change")
	return g.git("rev-parse", "HEAD")
}

// brief writes changes as "kind folder model (from) causes".
func brief(changes []Change) []string {
	texts := []string{}
	for _, change := range changes {
		text := fmt.Sprintf("%s %s %s", change.Kind, change.Folder, change.Model)
		if change.From != "" {
			text += " from " + change.From
		}
		for _, cause := range change.Because {
			text += "; " + cause.String()
		}
		if change.Twins != nil {
			text += fmt.Sprintf("; twins %s", change.Twins)
		}
		texts = append(texts, text)
	}
	return texts
}

func (g *gitRepository) expect(from, to string, want ...string) {
	g.t.Helper()
	if want == nil {
		want = []string{}
	}
	for _, which := range []string{"kept or new", "kept"} {
		got, err := Changes(g.t.Context(), g.dir, from, to)
		if err != nil {
			g.t.Fatal(err)
		}
		if diff := cmp.Diff(want, brief(got)); diff != "" {
			g.t.Fatalf("with the index %s: (-want +got)\n%s", which, diff)
		}
	}
	// And with an index made for this very state.
	if err := os.RemoveAll(filepath.Join(g.dir, ".git", "modelmanager")); err != nil {
		g.t.Fatal(err)
	}
	got, err := Changes(g.t.Context(), g.dir, from, to)
	if err != nil {
		g.t.Fatal(err)
	}
	if diff := cmp.Diff(want, brief(got)); diff != "" {
		g.t.Fatalf("with a new index: (-want +got)\n%s", diff)
	}
}

func aModel(name string, more ...string) string {
	return "name: " + name + "\n" + strings.Join(more, "\n") + "\n"
}

func TestChanges(t *testing.T) {
	g := newGitRepository(t)
	first := g.commit(
		"README.md", "hello",
		"templates/risk/model.yaml", "shared: [../../lib]\nfeatures: []\n",
		"templates/risk/predict.py", "1",
		"templates/base/model.yaml", "summary: x\n",
		"lib/score.py", "1",
		"lib/deep/table.csv", "1",
		"models/a/model.yaml", aModel("a", "extends: ../../templates/risk"),
		"models/b/model.yaml", aModel("b", "extends: ../../templates/risk", "params: {x: 1}"),
		"models/c/model.yaml", aModel("c", "shared:", "  - ../../lib/deep"),
		"models/d/model.yaml", aModel("d"),
		"models/d/data/x.csv", "1",
	)
	t.Run("nothing", func(t *testing.T) { g.expect("HEAD", "") })
	t.Run("everything is new at first", func(t *testing.T) {
		g.expect(strings.Repeat("0", 40), first,
			"added models/a a; its own files; shared folder lib; template templates/risk", "added models/b b; its own files; shared folder lib; template templates/risk",
			"added models/c c; its own files; shared folder lib/deep", "added models/d d; its own files")
	})
	g.commit("README.md", "hello again")
	t.Run("outside of models", func(t *testing.T) { g.expect(first, "") })

	own := g.commit("models/d/data/x.csv", "2")
	t.Run("own file", func(t *testing.T) { g.expect("HEAD~1", "HEAD", "changed models/d d; its own files") })

	template := g.commit("templates/risk/predict.py", "2")
	t.Run("template", func(t *testing.T) {
		g.expect(own, "", "changed models/a a; template templates/risk", "changed models/b b; template templates/risk")
		changes, _ := Changes(t.Context(), g.dir, first, "")
		if groups := GroupChanges(changes); len(groups) != 2 || groups[0].Title() != "its own files" || len(groups[1].Changes) != 2 || groups[1].Title() != "template templates/risk" {
			t.Fatalf("groups: %+v", groups)
		}
	})
	shared := g.commit("lib/deep/table.csv", "2")
	t.Run("shared folder, also through a template", func(t *testing.T) {
		g.expect(template, shared, "changed models/a a; shared folder lib", "changed models/b b; shared folder lib", "changed models/c c; shared folder lib/deep")
	})
	above := g.commit("lib/score.py", "2")
	t.Run("above a shared folder", func(t *testing.T) {
		g.expect(shared, "", "changed models/a a; shared folder lib", "changed models/b b; shared folder lib")
	})
	chain := g.commit("templates/risk/model.yaml", "extends: ../base\nshared: [../../lib]\n")
	t.Run("template of a template", func(t *testing.T) {
		g.expect(above, "", "changed models/a a; template templates/risk", "changed models/b b; template templates/risk")
		g.commit("templates/base/x.R", "1")
		g.expect(chain, "", "changed models/a a; template templates/base", "changed models/b b; template templates/base")
	})
	t.Run("moved as it is", func(t *testing.T) {
		g.git("mv", "models/d", "models/e")
		g.commit()
		g.expect("HEAD~1", "", "moved models/e d from models/d")
	})
	t.Run("moved and changed", func(t *testing.T) {
		g.git("mv", "models/e", "models/f")
		g.commit("models/f/data/x.csv", "3")
		g.expect("HEAD~1", "", "moved models/f d from models/e; its own files")
	})
	t.Run("renamed in its place", func(t *testing.T) {
		g.commit("models/f/model.yaml", aModel("dd"))
		g.expect("HEAD~1", "", "added models/f dd; its own files", "removed models/f d")
	})
	t.Run("swapped", func(t *testing.T) {
		g.commit("models/a/model.yaml", aModel("b"), "models/b/model.yaml", aModel("a"))
		g.expect("HEAD~1", "", "moved models/a b from models/b; its own files", "moved models/b a from models/a; its own files")
		g.git("revert", "--no-edit", "HEAD")
	})
	t.Run("removed", func(t *testing.T) {
		g.git("rm", "-rq", "models/f")
		g.commit()
		g.expect("HEAD~1", "", "removed models/f dd")
	})
	t.Run("a twin comes and goes", func(t *testing.T) {
		g.commit("models/g/model.yaml", aModel("c"))
		g.expect("HEAD~1", "", "added models/g c; its own files; twins [models/c]")
		g.git("rm", "-rq", "models/g")
		g.commit()
		g.expect("HEAD~1", "")
	})
	t.Run("a broken model.yaml is not gone", func(t *testing.T) {
		g.commit("models/c/model.yaml", "name: [\n")
		g.expect("HEAD~1", "", "changed models/c c; its own files")
		g.git("revert", "--no-edit", "HEAD")
	})
	t.Run("a model without a name is no template", func(t *testing.T) {
		g.commit("models/h/model.yaml", "summary: x\n")
		g.expect("HEAD~1", "", "added models/h ; its own files")
		g.git("revert", "--no-edit", "HEAD")
	})
	t.Run("merge base", func(t *testing.T) {
		g.git("checkout", "-qb", "work")
		g.commit("models/c/x", "1")
		g.git("checkout", "-q", "main")
		g.commit("models/a/x", "1")
		g.expect("main...work", "", "changed models/c c; its own files")
		g.expect("main...", "work", "changed models/c c; its own files")
		g.expect("main..work", "", "changed models/a a; its own files", "changed models/c c; its own files")
	})
	t.Run("work tree", func(t *testing.T) {
		g.expect("HEAD", WorkTree)
		g.write("models/a/x", "2", "models/new/model.yaml", aModel("new"), "models/c/model.yaml", aModel("c", "extends: ../../templates/base"))
		g.expect("HEAD", WorkTree, "changed models/a a; its own files", "changed models/c c; its own files", "added models/new new; its own files")
		g.expect("HEAD", "HEAD")
	})
}

func TestChangesOddPaths(t *testing.T) {
	g := newGitRepository(t)
	g.commit(
		"models/ä ö\nü/model.yaml", aModel("a", `extends: "../-t \"x\""`),
		"models/-t \"x\"/model.yaml", "summary: x",
		"-r/model.yaml", aModel("r"),
		":(top)/model.yaml", aModel("magic"),
		".hidden/model.yaml", aModel("hidden"),
	)
	g.commit("models/-t \"x\"/y\tz", "1", "-r/\n", "1", ":(top)/*", "1", ".hidden/x", "1")
	g.expect("HEAD~1", "", "changed -r r; its own files", "changed :(top) magic; its own files", "changed models/ä ö\nü a; template models/-t \"x\"")
}

func TestChangesLinksAndNesting(t *testing.T) {
	g := newGitRepository(t)
	g.write("model.yaml", aModel("root"), "x", "1", "t/v1/model.yaml", "summary: x", "t/v2/model.yaml", "summary: y",
		"m/model.yaml", aModel("m", "extends: ../t/current"))
	if err := os.Symlink("v2", filepath.Join(g.dir, "t/current")); err != nil {
		t.Fatal(err)
	}
	g.commit()
	g.commit("t/v2/x", "1")
	g.expect("HEAD~1", "", "changed m m; template t/v2")
	g.commit("x", "2")
	g.expect("HEAD~1", "", "changed . root; its own files")
}

func TestChangesUnknownRevisions(t *testing.T) {
	g := newGitRepository(t)
	g.commit("m/model.yaml", aModel("m"))
	g.commit("m/x", "1")
	for _, revision := range []string{"nope", "--output=/tmp/x", "-1", "a\nb", "HEAD~9", strings.Repeat("1", 40), "main:m/model.yaml", "^HEAD"} {
		_, err := Changes(t.Context(), g.dir, revision, "")
		if code := modelmanager.CodeOf(err); code != modelmanager.CodeNotFound && code != modelmanager.CodeBadRequest {
			t.Errorf("%q: %v (%s)", revision, err, code)
		}
	}
	clone := &gitRepository{t: t, dir: t.TempDir()}
	clone.git("clone", "-q", "--depth=1", "file://"+g.dir, ".")
	_, err := Changes(t.Context(), clone.dir, "HEAD~1", "")
	if modelmanager.CodeOf(err) != modelmanager.CodeNotFound || !strings.Contains(err.Error(), "fetch-depth") {
		t.Errorf("in a shallow clone: %v", err)
	}
	if _, err := Changes(t.Context(), t.TempDir(), "HEAD", ""); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
		t.Errorf("outside of git: %v", err)
	}
}
