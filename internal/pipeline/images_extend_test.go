package pipeline

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/image"
	"modelmanager.dev/test/needs"
)

// lackingOf is what a base without anything lacks.
func lackingOf(t *testing.T, lock string, packages ...string) *lacking {
	t.Helper()
	l := &lacking{packages: packages, debian: packages}
	if lock == "" {
		return l
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "renv.lock"), lock)
	renv, err := readRenv(dir, "r")
	if err != nil {
		t.Fatal(err)
	}
	l.renv, l.r = renv, rLacking(renv.versions(), nil)
	return l
}

// All that is asked for becomes part of a Dockerfile: nothing else than names,
// versions and addresses may.
func TestWhatCannotBeInstalled(t *testing.T) {
	base := &image.Base{Reference: "registry.example.org/base@sha256:1", Digest: "sha256:1"}
	for name, l := range map[string]*lacking{
		"a shell":             lackingOf(t, "", "libxml2 && touch /hacked"),
		"an option":           lackingOf(t, "", "--allow-unauthenticated"),
		"a line":              lackingOf(t, "", "libxml2\nRUN touch /hacked"),
		"a package's shell":   lackingOf(t, `{"Packages": {"mgcv; touch": {"Version": "1.9"}}}`),
		"a version's shell":   lackingOf(t, `{"Packages": {"mgcv": {"Version": "1.9\nother 1.0"}}}`),
		"no version":          lackingOf(t, `{"Packages": {"mgcv": {}}}`),
		"a file":              lackingOf(t, `{"R": {"Repositories": [{"URL": "file:///etc"}]}, "Packages": {"mgcv": {"Version": "1.9"}}}`),
		"a repository's line": lackingOf(t, `{"R": {"Repositories": [{"URL": "https://cran.example.org/ https://other.example.org"}]}, "Packages": {"mgcv": {"Version": "1.9"}}}`),
		"GitHub":              lackingOf(t, `{"Packages": {"mgcv": {"Version": "1.9", "Source": "GitHub"}}}`),
	} {
		if err := l.check(base); modelmanager.CodeOf(err) != modelmanager.CodeInvalidSpec {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := lackingOf(t, "", "libxml2").check(&image.Base{Reference: image.Scratch}); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
		t.Errorf("on nothing: %v", err)
	}
	good := lackingOf(t, `{"R": {"Repositories": [{"URL": "https://cran.example.org"}]}, "Packages": {"data.table": {"Version": "1.15-2", "Source": "Repository"}, "renv": {"Version": "1"}}}`, "libxml2=2.9.14+dfsg-1.3~deb12u6", "g++")
	if err := good.check(base); err != nil {
		t.Error(err)
	}
	steps := good.steps(base)
	if steps["packages"] != "data.table 1.15-2\n" || steps["repositories"] != "https://cran.example.org\n" || !strings.Contains(steps["Dockerfile"], " g++ libxml2=2.9.14+dfsg-1.3~deb12u6 ") {
		t.Errorf("the steps are %v", steps)
	}
}

// The order in which things are written down makes no other base.
func TestWhatABaseDependsOn(t *testing.T) {
	inputs := func(lock string, packages ...string) string {
		return strings.Join(lackingOf(t, lock, packages...).inputs(), "|")
	}
	const lock = `{"Packages": {"mgcv": {"Version": "1.9"}, "nlme": {"Version": "3.1"}}}`
	want := inputs(lock, "a", "b")
	if got := inputs(`{"R": {"Version": "4.2"}, "Packages": {"nlme": {"Version": "3.1", "Hash": "1"}, "mgcv": {"Version": "1.9"}}}`, "b", "a"); got != want {
		t.Errorf("written in another order it is %s, want %s", got, want)
	}
	for _, other := range []string{
		inputs(lock, "a"), inputs("", "a", "b"), inputs(strings.ReplaceAll(lock, "1.9", "2.0"), "a", "b"),
		inputs(`{"R": {"Repositories": [{"URL": "https://cran.example.org"}]}, `+lock[1:], "a", "b"),
	} {
		if other == want {
			t.Errorf("something else is %s, too", want)
		}
	}
}

// rPackageSource makes a package of R, in a repository, at a path there.
func rPackageSource(t *testing.T, repository, at, name, version, more, code string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	write(t, filepath.Join(dir, "DESCRIPTION"), "Package: "+name+"\nVersion: "+version+"\nTitle: T\nDescription: D.\nAuthor: A\nMaintainer: A <a@example.org>\nLicense: GPL-2\n"+more)
	write(t, filepath.Join(dir, "NAMESPACE"), "exportPattern(\".\")\n")
	write(t, filepath.Join(dir, "R", "a.R"), code)
	target := filepath.Join(repository, "src", "contrib", at)
	if err := os.MkdirAll(target, 0o755); err != nil {
		t.Fatal(err)
	}
	command := exec.Command("tar", "-czf", filepath.Join(target, name+"_"+version+".tar.gz"), "-C", filepath.Dir(dir), name)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
}

func TestInstallingPackagesOfR(t *testing.T) {
	rscript := needs.Program(t, "Rscript")
	repository := t.TempDir()
	rPackageSource(t, repository, "", "upper", "0.2-1", "Imports: lower\n", "four <- function(x) lower::twice(lower::twice(x))\n")
	rPackageSource(t, repository, "Archive/lower", "lower", "1.0", "", "twice <- function(x) 2 * x\n")
	rPackageSource(t, repository, "", "lower", "1.1", "", "twice <- function(x) stop()\n")
	rPackageSource(t, repository, "", "broken", "1.0", "", "twice <- function(x {\n")
	server := httptest.NewServer(http.FileServer(http.Dir(repository)))
	defer server.Close()
	install := func(packages string) (library string, output []byte, err error) {
		build := t.TempDir()
		library = filepath.Join(t.TempDir(), "library")
		write(t, filepath.Join(build, "packages"), packages)
		write(t, filepath.Join(build, "repositories"), "http://127.0.0.1:1/\n"+server.URL+"/\n")
		write(t, filepath.Join(build, "install.R"), installR)
		output, err = exec.CommandContext(t.Context(), rscript, "--vanilla", filepath.Join(build, "install.R"), build, library).CombinedOutput()
		return library, output, err
	}
	library, output, err := install("upper 0.2-1\nlower 1.0\n")
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	command := exec.Command(rscript, "--vanilla", "-e", "cat(upper::four(3))")
	command.Env = append(os.Environ(), "R_LIBS="+library)
	if output, err := command.CombinedOutput(); err != nil || string(output) != "12" {
		t.Errorf("what was installed says %s, %v", output, err)
	}
	for packages, says := range map[string]string{
		"upper 0.3\n":  "no repository of renv.lock has upper 0.3",
		"broken 1.0\n": "these packages can't be installed: broken 1.0",
	} {
		if _, output, err := install(packages); err == nil || !strings.Contains(string(output), says) {
			t.Errorf("%q: %v, %s", packages, err, output)
		}
	}
}
