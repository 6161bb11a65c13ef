package environment_test

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/test/needs"
)

// rPackage writes the source of a package of R, of one file.
func rPackage(t *testing.T, dir, name, version, code, exports string) string {
	t.Helper()
	folder := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Join(folder, "R"), 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		"DESCRIPTION": fmt.Sprintf("Package: %s\nVersion: %s\nTitle: A Package of the Tests\nDescription: For the tests.\nAuthor: Tests\nMaintainer: Tests <tests@example.org>\nLicense: none\n", name, version),
		"NAMESPACE":   "export(" + exports + ")\n",
		"R/code.R":    code + "\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// standIn is as much of renv as a restore needs, where R has none itself: what
// the lock file names is installed from the repository that it names.
const standIn = `restore <- function(project, lockfile, library, prompt, transactional) {
  lock <- jsonlite::read_json(lockfile)
  repository <- lock$R$Repositories[[1]]$URL
  for (package in lock$Packages) {
    offered <- available.packages(repos = repository, type = "source")
    if (!(package$Package %in% rownames(offered)) || offered[package$Package, "Version"] != package$Version)
      stop(sprintf("failed to retrieve '%s@%s'", package$Package, package$Version))
    install.packages(package$Package, lib = library, repos = repository, type = "source", quiet = TRUE)
  }
}`

// TestRestoreR restores a package from a repository on this machine: it is in a
// library of the environment's own, and R itself has no more than before.
func TestRestoreR(t *testing.T) {
	rscript := needs.Program(t, "Rscript")
	dir := t.TempDir()
	env := os.Environ()
	run := func(arguments ...string) string {
		t.Helper()
		command := exec.CommandContext(t.Context(), arguments[0], arguments[1:]...)
		command.Dir, command.Env = dir, env
		output, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v\n%s", arguments, err, output)
		}
		return strings.TrimSpace(string(output))
	}
	if exec.CommandContext(t.Context(), rscript, "--vanilla", "-e", "library(renv)").Run() != nil {
		tools := filepath.Join(dir, "tools")
		if err := os.Mkdir(tools, 0o755); err != nil {
			t.Fatal(err)
		}
		env = append(env, "R_LIBS="+tools)
		run("R", "CMD", "INSTALL", "--library="+tools, rPackage(t, dir, "renv", "0.0.1", standIn, "restore"))
	}
	contrib := filepath.Join(dir, "repository", "src", "contrib")
	if err := os.MkdirAll(contrib, 0o755); err != nil {
		t.Fatal(err)
	}
	run("R", "CMD", "build", rPackage(t, dir, "mm.tiny", "1.2.3", "thrice <- function(x) 3 * x", "thrice"))
	if err := os.Rename(filepath.Join(dir, "mm.tiny_1.2.3.tar.gz"), filepath.Join(contrib, "mm.tiny_1.2.3.tar.gz")); err != nil {
		t.Fatal(err)
	}
	run(rscript, "--vanilla", "-e", `invisible(tools::write_PACKAGES("repository/src/contrib", type = "source"))`)
	version := run(rscript, "--vanilla", "-e", `cat(as.character(getRversion()))`)

	folder := filepath.Join(dir, "model")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	lock := func(wanted string) {
		t.Helper()
		text := fmt.Sprintf(`{"R": {"Version": %q, "Repositories": [{"Name": "here", "URL": "file://%s"}]},
  "Packages": {"mm.tiny": {"Package": "mm.tiny", "Version": %q, "Source": "Repository", "Repository": "here"}}}`, version, filepath.Join(dir, "repository"), wanted)
		if err := os.WriteFile(filepath.Join(folder, "renv.lock"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lock("1.2.3")
	need := environment.Need{Spec: &spec.Spec{Name: "tested", Run: spec.Run{R: "predict.R:predict"}}, Dir: folder}
	m := &environment.Manager{Dir: filepath.Join(dir, "environments"), Env: env}
	e, err := m.Prepare(t.Context(), need, nil)
	if err != nil || e.Hash == "" || len(e.Env) == 0 {
		t.Fatalf("%+v, %v", e, err)
	}
	ask := exec.CommandContext(t.Context(), e.R, "--vanilla", "-e", `cat(mm.tiny::thrice(14), as.character(packageVersion("mm.tiny")))`)
	ask.Env = append(os.Environ(), e.Env...)
	if output, err := ask.Output(); err != nil || string(output) != "42 1.2.3" {
		t.Errorf("the package says %q (%v)", output, err)
	}
	if output, err := exec.CommandContext(t.Context(), e.R, "--vanilla", "-e", "library(mm.tiny)").CombinedOutput(); err == nil {
		t.Errorf("R itself has the package now: %s", output)
	}
	// It is there already.
	again, err := m.Prepare(t.Context(), need, func(doing string) { t.Errorf("it is done again: %s", doing) })
	if err != nil || again.Hash != e.Hash {
		t.Errorf("%+v, %v", again, err)
	}
	// What no repository has can't be restored, and leaves nothing that is taken for it.
	lock("9.9.9")
	for range 2 {
		if _, err := m.Prepare(t.Context(), need, nil); modelmanager.CodeOf(err) != modelmanager.CodeModelError ||
			!strings.Contains(err.Error(), "restoring the packages of renv.lock failed") || !strings.Contains(err.Error(), "mm.tiny") {
			t.Errorf("a version that isn't there: %v", err)
		}
	}
}

// TestAnotherRIsSaid: what a model was made with may answer otherwise elsewhere.
func TestAnotherRIsSaid(t *testing.T) {
	rscript := needs.Program(t, "Rscript")
	output, err := exec.CommandContext(t.Context(), rscript, "--vanilla", "-e", `cat(R.version$major, R.version$minor, sep = ".")`).Output()
	if err != nil {
		t.Fatal(err)
	}
	version := string(output)
	major, rest, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(rest, ".")
	for made, warns := range map[string]bool{
		version: false, major + "." + second + ".99": false, "3.0.0": true, major + ".99.0": true, "": false,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "renv.lock"), []byte(fmt.Sprintf(`{"R": {"Version": %q}}`, made)), 0o600); err != nil {
			t.Fatal(err)
		}
		var log, told strings.Builder
		m := &environment.Manager{Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&log, nil))}
		need := environment.Need{Spec: &spec.Spec{Name: "tested", Run: spec.Run{R: "predict.R:predict"}}, Dir: dir}
		for range 2 {
			if _, err := m.Prepare(t.Context(), need, func(text string) { told.WriteString(text) }); err != nil {
				t.Fatal(err)
			}
		}
		want := fmt.Sprintf("renv.lock was made with R %s, and this machine has R %s", made, version)
		if got := strings.Contains(told.String(), want); got != warns {
			t.Errorf("of a lock file of R %q is told %q", made, told.String())
		}
		if got := strings.Count(log.String(), "renv.lock was made"); got > 1 || got == 1 != warns {
			t.Errorf("of a lock file of R %q is logged %q", made, log.String())
		}
	}
}
