package pipeline

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/wording"
)

// lockName is a lock file that counts before a requirements.txt.
const lockName = "requirements.lock"

// frozen prints what is installed in an environment.
const frozen = `import importlib.metadata as m
print("\n".join(sorted({d.metadata["Name"] + "==" + d.version for d in m.distributions() if d.metadata["Name"]}, key=str.lower)))`

// lock makes an environment that is the same on any day of one that isn't: what
// was installed for a requirements.txt that doesn't fix the version of each
// package, those that its packages need included, is written into a lock file
// beside it, which becomes part of the version. It returns the environment of
// that, in which the model is then tried. What can't be written so stays as it was.
func (v *Validator) lock(ctx context.Context, t trial, built environment.Environment) (environment.Environment, error) {
	options, fixed, lockable := lockOptions(t.Dir)
	if !lockable || t.Spec.Run.R != "" || built.Hash == "" || built.Python == "" {
		return built, nil
	}
	command := exec.CommandContext(ctx, built.Python, "-I", "-c", frozen)
	command.Env = environment.Environ() // what is installed may run code there
	output, err := command.Output()
	if err != nil {
		return built, ctx.Err() // the finding says that nothing is fixed
	}
	packages := strings.Fields(string(output))
	packages = slices.DeleteFunc(packages, func(text string) bool { return strings.HasPrefix(strings.ToLower(text), "pip==") })
	if !slices.ContainsFunc(packages, func(text string) bool {
		name, version, _ := strings.Cut(text, "==")
		return !slices.Contains(fixed[canonicalName(name)], version)
	}) {
		return built, nil // requirements.txt says it all
	}
	text := "# What requirements.txt meant when this version was validated.\n" + strings.Join(append(options, packages...), "\n") + "\n"
	path := filepath.Join(t.Dir, lockName)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return built, fmt.Errorf("writing the lock file of %s: %w", t.Spec.Name, err)
	}
	t.say("locking %s", wording.Count(len(packages), "package"))
	locked, err := v.Environments.Prepare(ctx, environment.Need{Spec: t.Spec, Dir: t.Dir}, t.Progress)
	if err != nil {
		if ctx.Err() != nil {
			return built, ctx.Err()
		}
		t.say("the lock file can't be installed, and is left out: %v", err)
		return built, os.Remove(path)
	}
	t.report.Locked, t.lock = packages, text
	return locked, nil
}

// lockOptions tells whether a folder has a requirements.txt without a lock file,
// which is of nothing but packages by name; it returns the options in it, such as
// where packages come from, and the versions that it fixes: of a package several, where
// it names one for each kind of machine.
func lockOptions(dir string) (options []string, fixed map[string][]string, lockable bool) {
	for _, name := range []string{lockName, "uv.lock"} {
		if isFile(filepath.Join(dir, name)) {
			return nil, nil, false
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "requirements.txt"))
	if err != nil || len(data) > scanLimit {
		return nil, nil, false
	}
	fixed = map[string][]string{}
	text := strings.ReplaceAll(string(data), "\\\n", " ")
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), " #")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '-':
			name, _, _ := strings.Cut(strings.ReplaceAll(line, "=", " "), " ")
			if !slices.Contains(sourceOptions, name) {
				return nil, nil, false // -r, -c, -e and what is not known
			}
			options = append(options, line)
		case strings.ContainsAny(line, "@/\\") || strings.Contains(line, "--"):
			return nil, nil, false // an address, a path, hashes
		default:
			lockable = true
			requirement, _, _ := strings.Cut(line, ";") // what follows says where it counts
			if name, version, exact := strings.Cut(requirement, "=="); exact && !strings.ContainsAny(version, "*,") {
				name, _, _ = strings.Cut(name, "[")
				name = canonicalName(name)
				fixed[name] = append(fixed[name], strings.TrimSpace(version))
			}
		}
	}
	return options, fixed, lockable
}

// canonicalName is a package's name as Python compares it.
func canonicalName(name string) string {
	return nameSeparators.ReplaceAllString(strings.ToLower(strings.TrimSpace(name)), "-")
}

var nameSeparators = regexp.MustCompile(`[-_.]+`)

// sourceOptions say where packages come from, and in what form.
var sourceOptions = []string{
	"--index-url", "-i", "--extra-index-url", "--find-links", "-f", "--no-index", "--trusted-host",
	"--prefer-binary", "--only-binary", "--no-binary", "--pre",
}
