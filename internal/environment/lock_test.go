package environment_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelmanager.dev"
	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/spec"
)

var linux = []string{"manylinux_2_36_x86_64", "manylinux2014_x86_64"}

func TestDownloadForAnotherPython(t *testing.T) {
	m := &environment.Manager{Dir: t.TempDir()}
	lock, err := m.PythonLock(model(t, "mm-alpha==1.5"))
	if err != nil || lock == nil {
		t.Fatalf("%v, %v", lock, err)
	}
	var told []string
	dir := t.TempDir()
	if err := lock.Download(t.Context(), dir, "3.9", linux, func(text string) { told = append(told, text) }); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if diff := cmp.Diff([]string{"mm_alpha-1.5-py3-none-any.whl", "mm_beta-2.0-py3-none-any.whl"}, got); diff != "" {
		t.Error(diff)
	}
	if text := strings.Join(told, "\n"); !strings.Contains(text, "fetching 1 Python package") || strings.Contains(text, "installing") {
		t.Errorf("it told:\n%s", text)
	}
}

func TestDownloadOfWhatIsNotThere(t *testing.T) {
	m := &environment.Manager{Dir: t.TempDir()}
	lock, err := m.PythonLock(model(t, "mm-alpha==1.5\nmm-beta==7"))
	if err != nil {
		t.Fatal(err)
	}
	err = lock.Download(t.Context(), t.TempDir(), "3.11", linux, nil)
	if modelmanager.CodeOf(err) != modelmanager.CodeModelError || !strings.Contains(err.Error(), "requirements.txt line 4") || !strings.Contains(err.Error(), "build.image") {
		t.Errorf("%v", err)
	}
}

func TestLock(t *testing.T) {
	m := &environment.Manager{Dir: t.TempDir()}
	one, err := m.PythonLock(model(t, "mm-alpha==1.5"))
	if err != nil {
		t.Fatal(err)
	}
	need := model(t, "mm-alpha==1.5")
	need.Spec.Run = spec.Run{Command: []string{"./model"}}
	if lock, err := m.PythonLock(need); lock != nil || err != nil {
		t.Errorf("of a program: %v, %v", lock, err)
	}
	// An index in another folder is another lock; a comment isn't.
	need = model(t, "mm-alpha==1.5")
	text, err := os.ReadFile(filepath.Join(need.Dir, "requirements.txt"))
	if err != nil {
		t.Fatal(err)
	}
	before, err := m.PythonLock(need)
	if err != nil || cmp.Equal(one.Inputs, before.Inputs) {
		t.Errorf("%v, %v", before, err)
	}
	if err := os.WriteFile(filepath.Join(need.Dir, "requirements.txt"), append(text, "# nothing\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if after, err := m.PythonLock(need); err != nil || !cmp.Equal(before.Inputs, after.Inputs) {
		t.Errorf("a comment made it another lock: %v, %v", after, err)
	}
}
