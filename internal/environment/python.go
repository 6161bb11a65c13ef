package environment

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// lockFiles are the files that may say what a Python model needs, the first
// that is there counts.
var lockFiles = []string{"requirements.lock", "uv.lock", "requirements.txt"}

// findLock returns the name of the lock file of a model's folder, "" for none,
// and all of it that counts.
func findLock(dir string) (name, content string) {
	for _, name := range lockFiles {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		if name == "uv.lock" {
			project, err := os.ReadFile(filepath.Join(dir, "pyproject.toml"))
			if err != nil {
				continue
			}
			text = append(append(text, 0), project...)
		}
		return name, string(text)
	}
	return "", ""
}

func (m *Manager) planPython(ctx context.Context, need Need) (*plan, error) {
	version := ""
	if need.Spec.Build != nil && need.Spec.Run.R == "" {
		version = need.Spec.Build.Version
	}
	interpreter, err := m.findPython(ctx, version)
	if err != nil {
		return nil, fmt.Errorf("preparing %s: %w", need.Spec.Name, err)
	}
	p := &plan{name: need.Spec.Name, environment: Environment{Python: interpreter.path}}
	lock, err := m.PythonLock(need)
	if err != nil || lock == nil {
		return p, err
	}
	p.inputs = append([]string{interpreter.identity, runtime.GOOS + "/" + runtime.GOARCH}, lock.Inputs...)
	dir := m.path(p.hash())
	p.environment.Python = filepath.Join(dir, "bin", "python")
	p.environment.Env = []string{"VIRTUAL_ENV=" + dir}
	p.build = func(ctx context.Context, dir string, progress func(string)) error {
		b := &pythonBuild{manager: m, interpreter: interpreter.path, model: need.Dir, lock: lock.name, content: lock.content, dir: dir, progress: progress}
		return b.run(ctx)
	}
	return p, nil
}

// interpreter is a Python that was found on this machine.
type interpreter struct {
	path     string
	version  string // "3.12.4"
	identity string // changes when the interpreter does
}

// findPython finds an interpreter of a version ("3.12"; "": any Python 3).
func (m *Manager) findPython(ctx context.Context, version string) (interpreter, error) {
	names := []string{"python3", "python"}
	if version != "" {
		parts := strings.Split(version, ".")
		short := strings.Join(parts[:min(2, len(parts))], ".")
		names = []string{"python" + short, "python3", "python"}
	}
	var seen []string
	for _, name := range names {
		path, err := m.lookPath(name)
		if err != nil {
			continue
		}
		found, err := m.probe(ctx, path)
		if err != nil || !strings.HasPrefix(found.version, "3.") {
			continue
		}
		if version == "" || found.version == version || strings.HasPrefix(found.version, version+".") {
			return found, nil
		}
		seen = append(seen, found.version)
	}
	switch {
	case version == "":
		return interpreter{}, unavailable("there is no python3 on this machine; install it (on Debian: apt install python3 python3-venv)")
	case len(seen) == 0:
		return interpreter{}, unavailable("build.version asks for Python %s, and there is no Python on this machine; install it, or publish to a server on Kubernetes", version)
	default:
		return interpreter{}, unavailable("build.version asks for Python %s, and this machine has only %s; install python%s, or change build.version", version, strings.Join(seen, " and "), version)
	}
}

// probe asks an interpreter what it is. The answer's path is the real one:
// version managers put wrappers into PATH that depend on the current folder.
func (m *Manager) probe(ctx context.Context, path string) (interpreter, error) {
	info, err := os.Stat(path)
	if err != nil {
		return interpreter{}, err
	}
	key := fmt.Sprintf("%s %s %d", path, info.ModTime(), info.Size())
	if found, ok := m.interpreters.Load(key); ok {
		return found.(interpreter), nil
	}
	found, err := m.ask(ctx, path)
	if err == nil {
		m.interpreters.Store(key, found)
	}
	return found, err
}

func (m *Manager) ask(ctx context.Context, path string) (interpreter, error) {
	command := exec.CommandContext(ctx, path, "-I", "-c",
		"import sys, platform, sysconfig; print(sys.executable); print(platform.python_version()); print(sys.version.replace('\\n', ' '), sysconfig.get_platform())")
	command.Env = m.environ()
	output, err := command.Output()
	if err != nil {
		return interpreter{}, err
	}
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	if len(lines) != 3 || lines[0] == "" {
		return interpreter{}, fmt.Errorf("%s says nothing of itself", path)
	}
	return interpreter{path: lines[0], version: lines[1], identity: lines[0] + " " + lines[2]}, nil
}

// lookPath finds a program in the PATH that the manager's programs get.
func (m *Manager) lookPath(name string) (string, error) {
	path := ""
	for _, variable := range m.environ() {
		if value, ok := strings.CutPrefix(variable, "PATH="); ok {
			path = value
		}
	}
	for _, dir := range filepath.SplitList(path) {
		full := filepath.Join(dir, name)
		if info, err := os.Stat(full); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return filepath.Abs(full)
		}
	}
	return "", exec.ErrNotFound
}

// requirements returns the lines of a requirements file that ask for a
// package, or for more files.
func requirements(content string) []string {
	var lines []string
	for line := range strings.Lines(normalise(content)) {
		line = strings.TrimSpace(line)
		if line != "" && (!strings.HasPrefix(line, "-") || strings.HasPrefix(line, "-r") || strings.HasPrefix(line, "--requirement") || strings.HasPrefix(line, "-e")) {
			lines = append(lines, line)
		}
	}
	return lines
}

// normalise removes what makes no difference: comments, blank lines, ends of
// lines. It keeps the order, since options may depend on it.
func normalise(content string) string {
	content = strings.ReplaceAll(content, "\r\n", "\n")
	content = strings.ReplaceAll(content, "\\\n", " ")
	var out strings.Builder
	for line := range strings.Lines(content) {
		line = strings.TrimSpace(line)
		if i := strings.Index(line, " #"); i >= 0 {
			line = strings.TrimSpace(line[:i])
		}
		if line != "" && !strings.HasPrefix(line, "#") {
			out.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
		}
	}
	return out.String()
}

// includes returns the content of the files that a requirements file names
// (-r and -c), and of local packages nothing: they must be part of the folder.
func includes(dir, content string) ([]string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var texts []string
	seen := map[string]bool{}
	queue := []string{content}
	for len(queue) > 0 {
		text := queue[0]
		queue = queue[1:]
		for line := range strings.Lines(normalise(text)) {
			name := included(strings.TrimSpace(line))
			if name == "" || seen[name] {
				continue
			}
			seen[name] = true
			data, err := root.ReadFile(name)
			if errors.Is(err, fs.ErrNotExist) {
				return nil, unavailable("the requirements name the file %s, which isn't in the model's folder", name)
			}
			if err != nil {
				return nil, fmt.Errorf("reading %s: %w", name, err)
			}
			texts = append(texts, name, normalise(string(data)))
			queue = append(queue, string(data))
		}
	}
	return texts, nil
}

func included(line string) string {
	for _, option := range []string{"--requirement", "--constraint", "-r", "-c"} {
		if rest, ok := strings.CutPrefix(line, option); ok {
			return strings.TrimLeft(rest, " =")
		}
	}
	return ""
}

// installsFolder tells whether requirements name a package that lies in the
// model's folder: "./package", "wheels/a.whl", "-e .", "a @ file:…".
func installsFolder(content string) bool {
	for line := range strings.Lines(content) {
		line = strings.TrimSpace(line)
		first, _, _ := strings.Cut(line, " ")
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "-e") || strings.HasPrefix(line, "--editable") ||
			strings.Contains(line, "@ file:") || strings.HasPrefix(first, "file:") ||
			strings.Contains(first, "/") && !strings.Contains(first, "://") && !strings.HasPrefix(first, "-") {
			return true
		}
	}
	return false
}

// folderDigest is a hash over the files of a model's folder.
func folderDigest(dir string) (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		relative, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := file.Stat()
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%q %d\n", relative, info.Size())
		_, err = io.Copy(sum, file)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("reading the model's folder: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
