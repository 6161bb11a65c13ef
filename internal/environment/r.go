package environment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"modelmanager.dev/internal/proc"
)

// renvLock is an renv.lock, as far as it counts here.
type renvLock struct {
	R        struct{ Version string }
	Packages map[string]struct{ Package, Version string }
}

func (m *Manager) planR(ctx context.Context, need Need) (*plan, error) {
	rscript, err := m.lookPath("Rscript")
	if err != nil {
		return nil, unavailable("preparing %s: there is no Rscript on this machine; install R (on Debian: apt install r-base-core)", need.Spec.Name)
	}
	p := &plan{name: need.Spec.Name, environment: Environment{R: rscript}}
	text, err := os.ReadFile(filepath.Join(need.Dir, "renv.lock"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("preparing %s: reading renv.lock: %w", need.Spec.Name, err)
	}
	want := ""
	if need.Spec.Build != nil && need.Spec.Run.R != "" {
		want = need.Spec.Build.Version
	}
	if err != nil && want == "" {
		return p, nil // R itself isn't started for nothing
	}
	if err != nil {
		text = []byte("{}")
	}
	var lock renvLock
	if err := json.Unmarshal(text, &lock); err != nil {
		return nil, unavailable("preparing %s: renv.lock can't be read: %v; write it anew with renv::snapshot()", need.Spec.Name, err)
	}
	version, installed, missing, err := m.compareR(ctx, rscript, lock)
	if err != nil {
		return nil, fmt.Errorf("preparing %s: %w", need.Spec.Name, err)
	}
	if want != "" && version != want && !strings.HasPrefix(version, want+".") {
		return nil, unavailable("preparing %s: build.version asks for R %s, and this machine has %s; install the other, or change build.version", need.Spec.Name, want, version)
	}
	if made := lock.R.Version; made != "" && minor(made) != minor(version) {
		p.warning = fmt.Sprintf("%s: renv.lock was made with R %s, and this machine has R %s; a model may answer otherwise there, see what its examples say", need.Spec.Name, made, version)
	}
	if len(missing) == 0 {
		return p, nil // all of it is in the machine's own library
	}
	if installed["renv"] == "" {
		return nil, unavailable("preparing %s: renv.lock asks for what this machine doesn't have: %s; install R's package renv, which then fetches them, or install them yourself",
			need.Spec.Name, strings.Join(missing, ", "))
	}
	p.inputs = []string{"r", string(text), rscript, version, runtime.GOOS + "/" + runtime.GOARCH}
	library := filepath.Join(m.path(p.hash()), "library")
	p.environment.Env = []string{"R_LIBS=" + library}
	p.build = func(ctx context.Context, dir string, progress func(string)) error {
		progress(fmt.Sprintf("installing %s of R", plural(len(lock.Packages), "package")))
		return m.restoreR(ctx, rscript, dir, text)
	}
	return p, nil
}

// minor is a version of R without its last part, of what only mends mistakes.
func minor(version string) string {
	parts := strings.SplitN(version, ".", 3)
	return strings.Join(parts[:min(len(parts), 2)], ".")
}

// differences names what a lock file asks for and the library hasn't.
func differences(lock renvLock, installed map[string]string) []string {
	var missing []string
	for _, name := range slices.Sorted(maps.Keys(lock.Packages)) {
		want := lock.Packages[name].Version
		switch have, ok := installed[name]; {
		case name == "renv": // the tool itself; no model needs it to predict
		case !ok:
			missing = append(missing, fmt.Sprintf("%s %s", name, want))
		case have != want:
			missing = append(missing, fmt.Sprintf("%s %s (there is %s)", name, want, have))
		}
	}
	return missing
}

// libraryCache keeps what R said of its library: asking takes R's time to start.
type libraryCache struct {
	mu       sync.Mutex
	asked    time.Time
	rscript  string
	version  string
	packages map[string]string
}

// libraryAge is how long what R said is believed, if it is what is wanted.
const libraryAge = 10 * time.Minute

// compareR compares a lock file with R's own library.
func (m *Manager) compareR(ctx context.Context, rscript string, lock renvLock) (version string, installed map[string]string, missing []string, err error) {
	c := &m.library
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rscript == rscript && time.Since(c.asked) < libraryAge {
		if missing := differences(lock, c.packages); len(missing) == 0 {
			return c.version, c.packages, nil, nil
		}
	}
	version, installed, err = m.installedR(ctx, rscript)
	if err != nil {
		return "", nil, nil, err
	}
	c.asked, c.rscript, c.version, c.packages = time.Now(), rscript, version, installed
	return version, installed, differences(lock, installed), nil
}

// installedR returns R's version, and the packages of its own library.
func (m *Manager) installedR(ctx context.Context, rscript string) (version string, packages map[string]string, err error) {
	command := exec.CommandContext(ctx, rscript, "--vanilla", "-e",
		`cat(paste0("R ", R.version$major, ".", R.version$minor, "\n")); i <- installed.packages(); cat(paste0(i[, "Package"], " ", i[, "Version"], "\n"), sep = "")`)
	command.Env = m.environ()
	output, err := command.Output()
	if err != nil {
		return "", nil, unavailable("asking R for its packages failed: %v", err)
	}
	packages = map[string]string{}
	for line := range strings.Lines(string(output)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case !ok:
		case name == "R":
			version = value
		case packages[name] == "": // the first library in the path counts
			packages[name] = value
		}
	}
	return version, packages, nil
}

// restoreR installs what a lock file asks for into dir/library.
func (m *Manager) restoreR(ctx context.Context, rscript, dir string, lock []byte) error {
	file := filepath.Join(dir, "renv.lock")
	if err := os.WriteFile(file, lock, 0o644); err != nil {
		return fmt.Errorf("restoring an R library: %w", err)
	}
	library := filepath.Join(dir, "library")
	if err := os.Mkdir(library, 0o755); err != nil {
		return fmt.Errorf("restoring an R library: %w", err)
	}
	command := exec.CommandContext(ctx, rscript, "--vanilla", "-e",
		`a <- commandArgs(TRUE); renv::restore(project = a[1], lockfile = a[2], library = a[3], prompt = FALSE, transactional = FALSE)`,
		dir, file, library)
	command.Dir = dir
	command.Env = append(m.environ(), "RENV_CONFIG_CACHE_SYMLINKS=FALSE", "RENV_CONFIG_AUTOLOADER_ENABLED=FALSE")
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := proc.Run(command); err != nil {
		return unavailable("restoring the packages of renv.lock failed: %s", lastErrorOfR(output.String(), err))
	}
	return nil
}

func lastErrorOfR(output string, err error) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		line := strings.TrimSpace(lines[i])
		if strings.HasPrefix(line, "Error") && i+1 < len(lines) && strings.HasSuffix(line, ":") {
			return line + " " + strings.TrimSpace(lines[i+1])
		}
		if strings.HasPrefix(line, "Error") || strings.HasPrefix(line, "ERROR") {
			return line
		}
	}
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" && last != "Execution halted" {
		return last
	}
	return err.Error()
}
