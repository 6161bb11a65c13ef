package environment_test

import (
	"archive/zip"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/test/needs"
)

// wheel writes a package of Python with one module into dir.
func wheel(t *testing.T, dir, name, version, requires string) {
	t.Helper()
	file, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%s-py3-none-any.whl", name, version)))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info := fmt.Sprintf("%s-%s.dist-info/", name, version)
	if requires != "" {
		requires = "Requires-Dist: " + requires + "\n"
	}
	out := zip.NewWriter(file)
	for path, content := range map[string]string{
		name + ".py":      fmt.Sprintf("version = %q\n", version),
		info + "METADATA": fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n%s", name, version, requires),
		info + "WHEEL":    "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		info + "RECORD":   fmt.Sprintf("%s.py,,\n%sMETADATA,,\n%sWHEEL,,\n%sRECORD,,\n", name, info, info, info),
	} {
		entry, err := out.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := entry.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// model makes a model's folder with these requirements, and an index of two
// packages, of which one needs the other.
func model(t *testing.T, requirements string) environment.Need {
	t.Helper()
	dir, index := t.TempDir(), t.TempDir()
	wheel(t, index, "mm_alpha", "1.5", "mm-beta>=2")
	wheel(t, index, "mm_beta", "2.0", "")
	text := fmt.Sprintf("--no-index\n--find-links %s\n%s\n", index, requirements)
	if err := os.WriteFile(filepath.Join(dir, "requirements.txt"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return environment.Need{Spec: &spec.Spec{Name: "tested", Run: spec.Run{Python: "predict.py:predict"}}, Dir: dir}
}

func TestNothingToBuild(t *testing.T) {
	m := &environment.Manager{Dir: filepath.Join(t.TempDir(), "none")}
	need := environment.Need{Spec: &spec.Spec{Name: "bare", Run: spec.Run{Python: "predict.py:predict"}}, Dir: t.TempDir()}
	e, err := m.Prepare(t.Context(), need, nil)
	if err != nil || e.Hash != "" || !filepath.IsAbs(e.Python) {
		t.Fatalf("without requirements: %+v, %v; want the machine's own Python", e, err)
	}
	if err := exec.Command(e.Python, "-c", "import json").Run(); err != nil {
		t.Error(err)
	}
	need.Spec.Run = spec.Run{Command: []string{"./model"}}
	if e, err := m.Prepare(t.Context(), need, nil); err != nil || e.Python != "" {
		t.Errorf("of a program: %+v, %v; want nothing", e, err)
	}
	if _, err := os.Stat(m.Dir); err == nil {
		t.Error("a folder was made for nothing")
	}
}

func TestPython(t *testing.T) {
	need := model(t, "mm-alpha==1.5  # the one\n\nMM_beta>=2\n")
	dir := t.TempDir()
	var mu sync.Mutex
	var told []string
	progress := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, text)
	}
	// Many callers, of two managers that share the folder as two processes do.
	managers := []*environment.Manager{{Dir: dir}, {Dir: dir}}
	results := make([]environment.Environment, 6)
	var wait sync.WaitGroup
	for i := range results {
		wait.Go(func() {
			var err error
			if results[i], err = managers[i%2].Prepare(t.Context(), need, progress); err != nil {
				t.Errorf("Prepare: %v", err)
			}
		})
	}
	wait.Wait()
	if t.Failed() {
		return
	}
	for _, e := range results {
		if e.Hash == "" || e.Hash != results[0].Hash || e.Python != results[0].Python {
			t.Errorf("one caller got %+v, another %+v", results[0], e)
		}
	}
	output, err := exec.Command(results[0].Python, "-c", "import mm_alpha, mm_beta; print(mm_alpha.version, mm_beta.version)").CombinedOutput()
	if err != nil || strings.TrimSpace(string(output)) != "1.5 2.0" {
		t.Errorf("the environment says %q, %v", output, err)
	}
	all := strings.Join(told, "\n")
	if want := "installing 2 Python packages: mm_alpha"; !strings.Contains(all, want) || !strings.Contains(all, "(2 of 2)") {
		t.Errorf("progress was told as\n%s\nwant %q and (2 of 2) in it", all, want)
	}
	if n := strings.Count(all, "making a Python environment"); n != 1 {
		t.Errorf("it was built %d times", n)
	}

	// It's there: nothing is done again.
	told = nil
	again, err := managers[0].Prepare(t.Context(), need, progress)
	if err != nil || again.Hash != results[0].Hash || len(told) > 0 {
		t.Errorf("the second time: %+v, %v, told %q", again, err, told)
	}
	// Another model with the same lock file shares it.
	other := environment.Need{Spec: need.Spec, Dir: t.TempDir()}
	lock, err := os.ReadFile(filepath.Join(need.Dir, "requirements.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"requirements.txt": lock, "model.bin": []byte("another model")} {
		if err := os.WriteFile(filepath.Join(other.Dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shared, err := managers[0].Prepare(t.Context(), other, progress)
	if err != nil || shared.Hash != results[0].Hash || len(told) > 0 {
		t.Errorf("another model with the same lock file: %+v, %v, told %q", shared, err, told)
	}
	// What a killed build leaves behind is done anew.
	if err := os.Remove(filepath.Join(dir, again.Hash, "complete.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(again.Python+"-half", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := managers[0].Prepare(t.Context(), need, progress); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(again.Python + "-half"); err == nil {
		t.Error("a ruin was used")
	}

	if n, err := managers[0].Sweep(map[string]bool{again.Hash: true}, 0); n != 0 || err != nil {
		t.Errorf("sweeping what is kept: %d, %v", n, err)
	}
	if n, err := managers[0].Sweep(nil, time.Hour); n != 0 || err != nil {
		t.Errorf("sweeping what was just used: %d, %v", n, err)
	}
	if n, err := managers[0].Sweep(nil, 0); n != 1 || err != nil {
		t.Errorf("sweeping: %d, %v; want 1", n, err)
	}
}

// TestPackageInTheFolder installs a package that is part of the model's
// folder: when it changes, so does the environment.
func TestPackageInTheFolder(t *testing.T) {
	need := model(t, "./own-1.0/mm_own-1.0-py3-none-any.whl")
	m := &environment.Manager{Dir: t.TempDir()}
	if err := os.Mkdir(filepath.Join(need.Dir, "own-1.0"), 0o755); err != nil {
		t.Fatal(err)
	}
	hashes := map[string]bool{}
	for _, version := range []string{"", "mm-beta"} {
		wheel(t, filepath.Join(need.Dir, "own-1.0"), "mm_own", "1.0", version)
		e, err := m.Prepare(t.Context(), need, nil)
		if err != nil {
			t.Fatal(err)
		}
		hashes[e.Hash] = true
		if output, err := exec.Command(e.Python, "-c", "import mm_own").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, output)
		}
	}
	if len(hashes) != 2 {
		t.Error("the package changed, and the environment didn't")
	}
}

func TestPythonFailures(t *testing.T) {
	tests := []struct {
		name, requirements, version string
		want                        []string
	}{
		{"no such version", "mm-beta==2.0\nmm-alpha==99.0\n", "", []string{"requirements.txt line 4", "mm-alpha==99.0", "1.5"}},
		{"no such package", "mm-gamma\n", "", []string{"requirements.txt line 3", "mm-gamma"}},
		{"broken file", "this is = not ] a requirement\n", "", []string{"requirements.txt"}},
		{"missing file", "-r more.txt\n", "", []string{"more.txt"}},
		{"no such interpreter", "mm-beta\n", "3.2", []string{"3.2", "this machine has only 3."}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			need := model(t, test.requirements)
			if test.version != "" {
				need.Spec.Build = &spec.Build{Version: test.version}
			}
			dir := t.TempDir()
			_, err := (&environment.Manager{Dir: dir}).Prepare(t.Context(), need, nil)
			if modelmanager.CodeOf(err) != modelmanager.CodeModelError {
				t.Fatalf("Prepare: %v; want code model_error", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error is %q; it should name %q", err, want)
				}
			}
			if found, _ := filepath.Glob(filepath.Join(dir, "*", "bin")); len(found) > 0 {
				t.Errorf("a failed build has left %v", found)
			}
		})
	}
}

func TestWaitersGoAndTheBuildStays(t *testing.T) {
	need := model(t, "mm-beta\n")
	m := &environment.Manager{Dir: t.TempDir()}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := m.Prepare(ctx, need, func(string) { cancel() })
	if modelmanager.CodeOf(err) != modelmanager.CodeDeadlineExceeded {
		t.Errorf("a caller that went: %v; want code deadline_exceeded", err)
	}
	if _, err := m.Prepare(t.Context(), need, nil); err != nil {
		t.Errorf("the next caller: %v", err)
	}
}

func TestR(t *testing.T) {
	needs.Program(t, "Rscript")
	m := &environment.Manager{Dir: t.TempDir()}
	dir := t.TempDir()
	need := environment.Need{Spec: &spec.Spec{Name: "tested", Run: spec.Run{R: "predict.R:predict"}}, Dir: dir}
	e, err := m.Prepare(t.Context(), need, nil)
	if err != nil || e.R == "" || e.Hash != "" {
		t.Fatalf("without a lock file: %+v, %v", e, err)
	}
	// A version of R alone asks for nothing that would have to be fetched.
	for _, text := range []string{`{"R": {"Version": "4.2.2"}, "Packages": {}}`, `{"R": {"Version": "3.0.0"}}`} {
		if err := os.WriteFile(filepath.Join(dir, "renv.lock"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if e, err := m.Prepare(t.Context(), need, nil); err != nil || e.Hash != "" || e.R == "" {
			t.Errorf("with the lock %s: %+v, %v", text, e, err)
		}
	}
	lock := func(name, version string) {
		text := fmt.Sprintf(`{"R": {"Version": "4.2.2"}, "Packages": {%q: {"Package": %q, "Version": %q}}}`, name, name, version)
		if err := os.WriteFile(filepath.Join(dir, "renv.lock"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	output, err := exec.Command(e.R, "--vanilla", "-e", `cat(as.character(packageVersion("stats")))`).Output()
	if err != nil {
		t.Fatal(err)
	}
	lock("stats", string(output))
	if _, err := m.Prepare(t.Context(), need, nil); err != nil {
		t.Errorf("with a package that is there: %v", err)
	}
	lock("mm.not.there", "1.2.3")
	_, err = m.Prepare(t.Context(), need, nil)
	if modelmanager.CodeOf(err) != modelmanager.CodeModelError || !strings.Contains(err.Error(), "mm.not.there 1.2.3") {
		t.Errorf("with one that isn't: %v", err)
	}
	if _, err := (&environment.Manager{Dir: t.TempDir(), Env: []string{"PATH=/nowhere"}}).Prepare(t.Context(), need, nil); modelmanager.CodeOf(err) != modelmanager.CodeModelError {
		t.Errorf("without R: %v; want code model_error", err)
	}
}
