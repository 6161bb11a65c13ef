package environment

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Lock is what the lock file of a model in Python asks for.
type Lock struct {
	// Inputs are all that what is installed depends on, but for the Python
	// that it is for.
	Inputs []string

	manager       *Manager
	model         string // the model's folder
	name, content string // of the lock file
}

// PythonLock reads the lock file of a version; nil if it asks for nothing, or
// isn't Python's.
func (m *Manager) PythonLock(need Need) (*Lock, error) {
	if languageOf(need) != python {
		return nil, nil
	}
	name, content := findLock(need.Dir)
	if name == "" || name != "uv.lock" && len(requirements(content)) == 0 {
		return nil, nil
	}
	included, err := includes(need.Dir, content)
	if err != nil {
		return nil, fmt.Errorf("preparing %s: %w", need.Spec.Name, err)
	}
	l := &Lock{manager: m, model: need.Dir, name: name, content: content}
	l.Inputs = append([]string{"python", name, normalise(content)}, included...)
	if slices.ContainsFunc(append([]string{content}, included...), installsFolder) {
		digest, err := folderDigest(need.Dir)
		if err != nil {
			return nil, fmt.Errorf("preparing %s: %w", need.Spec.Name, err)
		}
		l.Inputs = append(l.Inputs, digest)
	}
	return l, nil
}

// Download fetches the wheels of all that the lock asks for into a folder: for
// Python of a version such as "3.11", on platforms as pip calls them. It needs
// pip on this machine, of any Python; nothing is built, and nothing that is
// fetched is run.
func (l *Lock) Download(ctx context.Context, dir, version string, platforms []string, progress func(string)) error {
	if progress == nil {
		progress = func(string) {}
	}
	m := l.manager
	// pip judges conditions such as `python_version < "3.12"` by its own Python:
	// the same version is better, if there is one.
	host, err := m.findPython(ctx, version)
	if err != nil {
		host, err = m.findPython(ctx, "")
	}
	if err != nil {
		return err
	}
	b := &pythonBuild{
		manager: m, interpreter: host.path, model: l.model, lock: l.name, content: l.content, dir: dir,
		progress: progress, fetch: true, got: map[string]bool{},
	}
	if b.command(ctx, host.path, "-m", "pip", "--version") != nil {
		return unavailable("fetching packages for an image needs pip, and %s has none; install it (on Debian: apt install python3-pip)", host.path)
	}
	file := l.name
	if l.name == "uv.lock" {
		exported, err := os.CreateTemp("", "requirements-*.txt")
		if err != nil {
			return fmt.Errorf("reading uv.lock: %w", err)
		}
		exported.Close()
		defer os.Remove(exported.Name())
		if file, err = exported.Name(), b.exportUV(ctx, exported.Name()); err != nil {
			return err
		}
	}
	b.names = packageNames(b.content)
	progress(fmt.Sprintf("fetching %s", b.count()))
	major, minor, _ := strings.Cut(version, ".")
	arguments := []string{
		"-m", "pip", "download", "--no-input", "--disable-pip-version-check", "--no-color", "--progress-bar", "off",
		"--only-binary=:all:", "--implementation=cp", "--python-version=" + major + "." + minor, "--dest", dir,
	}
	for _, platform := range platforms {
		arguments = append(arguments, "--platform="+platform)
	}
	if err := b.command(ctx, host.path, append(arguments, "-r", file)...); err != nil {
		return fmt.Errorf("packages for Python %s, ready to run on %s: %w", version, platforms[0], b.explain(err))
	}
	return nil
}

// exportUV writes what uv.lock asks for as requirements.
func (b *pythonBuild) exportUV(ctx context.Context, file string) error {
	uv, err := b.manager.lookPath("uv")
	if err != nil {
		return unavailable("the model has a uv.lock, and this machine has no uv; install it (pip install uv), or put a requirements.txt into the folder (uv export -o requirements.txt)")
	}
	b.progress("reading uv.lock")
	if err := b.command(ctx, uv, "export", "--quiet", "--frozen", "--no-dev", "--no-emit-project", "--format", "requirements-txt", "--output-file", file); err != nil {
		return fmt.Errorf("reading uv.lock: %w", b.explain(err))
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading what uv made of uv.lock: %w", err)
	}
	b.content = string(text)
	return nil
}
