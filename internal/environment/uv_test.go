package environment_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/environment"
	"modelmanager.dev/test/needs"
)

// withUV returns a manager whose programs find a real uv: the machine's, or one
// from the package index.
func withUV(t *testing.T) *environment.Manager {
	t.Helper()
	m := &environment.Manager{Dir: t.TempDir()}
	if _, err := exec.LookPath("uv"); err == nil {
		return m
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	for _, command := range [][]string{
		{"python3", "-m", "venv", dir},
		{filepath.Join(bin, "python"), "-m", "pip", "install", "--quiet", "uv"},
	} {
		if output, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			needs.Skip(t, fmt.Sprintf("there is no uv, and none to be had: %v: %v\n%s", command, err, output))
		}
	}
	only := t.TempDir() // uv alone: the environment's own python isn't the machine's
	if err := os.Symlink(filepath.Join(bin, "uv"), filepath.Join(only, "uv")); err != nil {
		t.Fatal(err)
	}
	m.Env = append(os.Environ(), "PATH="+only+string(filepath.ListSeparator)+os.Getenv("PATH"))
	return m
}

// TestUV: where there is uv it makes the environments, of requirements and of
// its own lock file, and its refusals name the line at fault, like pip's.
func TestUV(t *testing.T) {
	m := withUV(t)
	t.Run("requirements", func(t *testing.T) {
		need := model(t, "mm-alpha==1.5\nMM_beta>=2\n")
		e, err := m.Prepare(t.Context(), need, nil)
		if err != nil {
			t.Fatal(err)
		}
		madeByUV(t, e)
		output, err := exec.Command(e.Python, "-c", "import mm_alpha, mm_beta; print(mm_alpha.version, mm_beta.version)").CombinedOutput()
		if err != nil || strings.TrimSpace(string(output)) != "1.5 2.0" {
			t.Errorf("the environment says %q, %v", output, err)
		}
		if compiled, _ := filepath.Glob(filepath.Join(m.Dir, e.Hash, "lib", "*", "site-packages", "__pycache__", "mm_alpha.*.pyc")); len(compiled) == 0 {
			t.Error("what was installed isn't compiled")
		}
		if n, err := m.Sweep(map[string]bool{e.Hash: true}, time.Nanosecond); n != 0 || err != nil {
			t.Errorf("sweeping what is kept: %d, %v", n, err)
		}
	})
	t.Run("uv.lock", func(t *testing.T) {
		need := model(t, "mm-beta\n")
		index := strings.Fields(readFile(t, filepath.Join(need.Dir, "requirements.txt")))[2]
		project := "[project]\nname = \"own\"\nversion = \"1\"\nrequires-python = \">=3.9\"\ndependencies = [\"mm-alpha==1.5\"]\n" +
			"[tool.uv]\nno-index = true\nfind-links = [\"" + index + "\"]\n"
		if err := os.Remove(filepath.Join(need.Dir, "requirements.txt")); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(need.Dir, "pyproject.toml"), []byte(project), 0o600); err != nil {
			t.Fatal(err)
		}
		lock := exec.Command("uv", "lock", "--quiet", "--offline")
		lock.Dir, lock.Env = need.Dir, m.Env
		if path := uvOf(m); path != "" {
			lock.Path, lock.Err = path, nil
		}
		if output, err := lock.CombinedOutput(); err != nil {
			t.Fatalf("uv lock: %v\n%s", err, output)
		}
		e, err := m.Prepare(t.Context(), need, nil)
		if err != nil {
			t.Fatal(err)
		}
		madeByUV(t, e)
		if output, err := exec.Command(e.Python, "-c", "import mm_alpha, mm_beta").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, output)
		}
	})
	for name, test := range map[string]struct {
		requirements string
		want         []string
	}{
		"no such version": {"mm-beta==2.0\nmm-alpha==99.0\n", []string{"requirements.txt line 4", "mm-alpha==99.0"}},
		"no such package": {"mm-gamma\n", []string{"requirements.txt line 3", "mm-gamma"}},
		"broken file":     {"this is = not ] a requirement\n", []string{"requirements.txt"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := m.Prepare(t.Context(), model(t, test.requirements), nil)
			if modelmanager.CodeOf(err) != modelmanager.CodeModelError {
				t.Fatalf("Prepare: %v; want code model_error", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error is %q; it should name %q", err, want)
				}
			}
		})
	}
}

// uvOf returns the uv that a manager's programs find, "" for the machine's.
func uvOf(m *environment.Manager) string {
	for i := len(m.Env) - 1; i >= 0; i-- {
		if path, ok := strings.CutPrefix(m.Env[i], "PATH="); ok {
			return filepath.Join(filepath.SplitList(path)[0], "uv")
		}
	}
	return ""
}

func madeByUV(t *testing.T, e environment.Environment) {
	t.Helper()
	if text := readFile(t, filepath.Join(filepath.Dir(filepath.Dir(e.Python)), "pyvenv.cfg")); !strings.Contains(text, "uv = ") {
		t.Errorf("uv didn't make it: %s", text)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
