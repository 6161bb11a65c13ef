package pipeline

import (
	"archive/zip"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"modelmanager.dev/internal/environment"
)

// writeWheel writes a package of Python with one empty module.
func writeWheel(t *testing.T, dir, name, version, requires string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%s-py3-none-any.whl", name, version)))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	archive := zip.NewWriter(file)
	info := fmt.Sprintf("%s-%s.dist-info/", name, version)
	metadata := fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n", name, version)
	if requires != "" {
		metadata += "Requires-Dist: " + requires + "\n"
	}
	for _, part := range [][2]string{
		{name + ".py", "version = '" + version + "'\n"}, {info + "METADATA", metadata},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}, {info + "RECORD", ""},
	} {
		w, err := archive.Create(part[0])
		if err == nil {
			_, err = w.Write([]byte(part[1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestOpenVersionsAreKept: what is installed for a requirements.txt without
// versions becomes part of the model, with what it needs itself.
func TestOpenVersionsAreKept(t *testing.T) {
	index := filepath.Join(t.TempDir(), "index")
	writeWheel(t, index, "mm_alpha", "1.5", "mm_beta")
	writeWheel(t, index, "mm_beta", "2.0", "")
	dir := filepath.Join(t.TempDir(), "open")
	writeModel(t, dir, "", "import mm_alpha\n"+predictDouble)
	write(t, filepath.Join(dir, "requirements.txt"), fmt.Sprintf("--no-index\n--find-links %s\nmm_alpha>=1\n", index))
	prepared, err := Prepare(t.Context(), loadFolder(t, dir), Options{Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer prepared.Close()
	v := validator(t)
	v.Environments = &environment.Manager{Dir: t.TempDir(), Env: append(os.Environ(), "PIP_NO_INDEX=1")}
	report, err := v.Validate(t.Context(), prepared, Options{Progress: func(text string) { t.Log(text) }})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"mm_alpha==1.5", "mm_beta==2.0"}; !slices.Equal(report.Locked, want) {
		t.Errorf("%v, not %v", report.Locked, want)
	}
	text, err := os.ReadFile(filepath.Join(prepared.Dir, lockName))
	if want := fmt.Sprintf("# What requirements.txt meant when this version was validated.\n--no-index\n--find-links %s\nmm_alpha==1.5\nmm_beta==2.0\n", index); err != nil || string(text) != want {
		t.Errorf("%v\n%s", err, text)
	}
	if isFile(filepath.Join(dir, lockName)) {
		t.Error("the author's folder was written into")
	}
}

func TestLockOptions(t *testing.T) {
	for text, want := range map[string]bool{
		"numpy\n": true, "numpy==2.0\npandas>=2 # newer\n": true, "--index-url https://example.org/simple\nnumpy\n": true,
		"numpy==2.0\n": true, "": false, "-r more.txt\nnumpy\n": false, "-e .\nnumpy\n": false, "./local\nnumpy\n": false,
		"own @ https://example.org/own.whl\nnumpy\n": false, "numpy==2.0 --hash=sha256:00\npandas\n": false,
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "requirements.txt"), text)
		if _, _, got := lockOptions(dir); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}

// TestWhatPackagesNeedIsKept: fixed versions of what is asked for say nothing of
// what that needs.
func TestWhatPackagesNeedIsKept(t *testing.T) {
	index := filepath.Join(t.TempDir(), "index")
	writeWheel(t, index, "mm_alpha", "1.5", "mm_beta")
	writeWheel(t, index, "mm_beta", "2.0", "")
	for requirements, want := range map[string][]string{
		"mm_alpha==1.5\n":                 {"mm_alpha==1.5", "mm_beta==2.0"},
		"mm-alpha == 1.5\nMM.Beta==2.0\n": nil, // nothing is open
		// Nor is it where other machines have other versions.
		"mm_alpha==1.5\nmm_beta==1.0; python_version < \"3\"\nmm_beta==2.0; python_version >= \"3\"\n": nil,
	} {
		dir := filepath.Join(t.TempDir(), "fixed")
		writeModel(t, dir, "", "import mm_alpha, mm_beta\n"+predictDouble)
		write(t, filepath.Join(dir, "requirements.txt"), fmt.Sprintf("--no-index\n--find-links %s\n%s", index, requirements))
		prepared, err := Prepare(t.Context(), loadFolder(t, dir), Options{Scratch: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer prepared.Close()
		v := validator(t)
		v.Environments = &environment.Manager{Dir: t.TempDir(), Env: append(os.Environ(), "PIP_NO_INDEX=1")}
		report, err := v.Validate(t.Context(), prepared, Options{Progress: func(text string) { t.Log(text) }})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(report.Locked, want) || isFile(filepath.Join(prepared.Dir, lockName)) != (want != nil) {
			t.Errorf("%q: %v, not %v", requirements, report.Locked, want)
		}
	}
}
