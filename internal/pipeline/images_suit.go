package pipeline

import (
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/image"
	"modelmanager.dev/internal/spec"
)

// suitable returns a base that has what the model asks for: the one that is
// there, or one with more in it, which a Builder makes.
func (i *Images) suitable(ctx context.Context, p *Prepared, language string, base *image.Base, options Options) (*image.Base, error) {
	lacks, err := i.suits(ctx, p, language, base)
	if err != nil || lacks == nil {
		return base, err
	}
	if i.Builder == nil {
		return nil, lacks.refusal(base, language)
	}
	return i.extend(ctx, p, base, lacks, options)
}

// suits tells what a base lacks and can be given, nil if nothing, and refuses one
// that a model can't be put on.
func (i *Images) suits(ctx context.Context, p *Prepared, language string, base *image.Base) (*lacking, error) {
	build := p.Spec.Build
	if build == nil {
		build = new(spec.Build)
	}
	renv, err := readRenv(p.Dir, language)
	if err != nil {
		return nil, err
	}
	dynamic := false
	if language == static {
		if dynamic, err = isDynamic(p, base.Platform); err != nil {
			return nil, err
		}
	}
	python := language == "python" && build.Version != ""
	if len(build.Packages) == 0 && renv == nil && !dynamic && !python {
		return nil, nil
	}
	contents, err := i.cache.Contents(ctx, base)
	if err != nil {
		return nil, err
	}
	if python {
		_, version, err := contents.Python(base)
		if err != nil {
			return nil, err
		}
		if asked := strings.Split(build.Version, "."); strings.Join(asked[:min(2, len(asked))], ".") != version && build.Version != "3" {
			return nil, modelmanager.Errorf(modelmanager.CodeBadRequest,
				"build.version asks for Python %s, and the base image %s has %s; name one with --base python%s=IMAGE, or change build.version",
				build.Version, base.Reference, version, strings.Join(asked[:min(2, len(asked))], "."))
		}
	}
	if dynamic && contents.Libc == "" {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest,
			"%s needs libraries that its base image %s doesn't have; link it statically (for Go, build.command: [env, CGO_ENABLED=0, go, build, …]), or name another base with --base static=IMAGE",
			program(p), base.Reference)
	}
	lacks := &lacking{debian: packagesLacking(build.Packages, contents.Debian), renv: renv}
	if renv != nil {
		lacks.r = rLacking(renv.versions(), contents.RLibrary)
	}
	if len(lacks.debian)+len(lacks.r) == 0 {
		return nil, nil
	}
	lacks.packages = build.Packages
	return lacks, nil
}

// lacking is what a base doesn't have.
type lacking struct {
	debian   []string          // for people
	r        map[string]string // by package: what is lacking, for people
	packages []string          // build.packages
	renv     *renvLock         // nil: there is none
}

// rText names the packages of R that are lacking.
func (l *lacking) rText() []string {
	var text []string
	for _, name := range slices.Sorted(maps.Keys(l.r)) {
		text = append(text, l.r[name])
	}
	return text
}

// refusal says what is lacking, where nobody can install it.
func (l *lacking) refusal(base *image.Base, language string) error {
	if len(l.debian) > 0 {
		return modelmanager.Errorf(modelmanager.CodeBadRequest,
			"the base image %s doesn't have what build.packages asks for: %s; name a base that has it with --base %s=IMAGE, or have BuildKit install it (--buildkit ADDRESS, or $BUILDKIT_HOST), or bring an image of your own (build.image)",
			base.Reference, strings.Join(l.debian, ", "), language)
	}
	return modelmanager.Errorf(modelmanager.CodeBadRequest,
		"renv.lock asks for what the base image %s doesn't have: %s. R's packages can't be installed without R: name a base that has them with --base r=IMAGE, or have BuildKit install them (--buildkit ADDRESS, or $BUILDKIT_HOST), or bring an image of your own (build.image)",
		base.Reference, strings.Join(l.rText(), ", "))
}

// program is the path of a model's own program in its folder.
func program(p *Prepared) string {
	switch run := p.Spec.Run; {
	case run.HTTP != nil:
		return run.HTTP.Command[0]
	case run.Job != nil:
		return run.Job.Command[0]
	default:
		return run.Command[0]
	}
}

// machines are the processors of programs, by architecture.
var machines = map[string]elf.Machine{
	"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "386": elf.EM_386, "arm": elf.EM_ARM,
	"ppc64le": elf.EM_PPC64, "s390x": elf.EM_S390, "riscv64": elf.EM_RISCV,
}

// isDynamic tells whether a model's own program needs a loader and libraries. It
// refuses one that doesn't run on the platform at all.
func isDynamic(p *Prepared, platform string) (bool, error) {
	_, architecture, _ := strings.Cut(platform, "/")
	architecture, _, _ = strings.Cut(architecture, "/")
	binary, err := elf.Open(filepath.Join(p.Dir, filepath.FromSlash(program(p))))
	if err == nil {
		defer binary.Close()
	}
	if err != nil || binary.Machine != machines[architecture] {
		return false, modelmanager.Errorf(modelmanager.CodeBadRequest,
			"%s is no program for %s; build it for that (for Go, build.command: [env, GOOS=linux, GOARCH=%s, go, build, …])", program(p), platform, architecture)
	}
	return slices.ContainsFunc(binary.Progs, func(s *elf.Prog) bool { return s.Type == elf.PT_INTERP }), nil
}

func packagesLacking(asked []string, there map[string]string) []string {
	var lacking []string
	for _, name := range asked {
		name, version, exact := strings.Cut(name, "=")
		switch have, ok := there[name]; {
		case !ok:
			lacking = append(lacking, name)
		case exact && have != version:
			lacking = append(lacking, fmt.Sprintf("%s %s (there is %s)", name, version, have))
		}
	}
	return lacking
}

// renvLock is an renv.lock, as far as it counts here.
type renvLock struct {
	R struct {
		Repositories []struct{ URL string }
	}
	Packages map[string]struct{ Version, Source string }
}

// repositories are the addresses that packages come from.
func (l *renvLock) repositories() []string {
	var addresses []string
	for _, repository := range l.R.Repositories {
		addresses = append(addresses, repository.URL)
	}
	if len(addresses) == 0 {
		return []string{"https://cloud.r-project.org"}
	}
	return addresses
}

// versions are the packages that a lock asks for, but for the tool itself.
func (l *renvLock) versions() map[string]string {
	packages := map[string]string{}
	for name, asked := range l.Packages {
		if name != "renv" {
			packages[name] = asked.Version
		}
	}
	return packages
}

// readRenv reads a model's renv.lock; nil if it has none, or isn't in R.
func readRenv(dir, language string) (*renvLock, error) {
	if language != "r" {
		return nil, nil
	}
	text, err := os.ReadFile(filepath.Join(dir, "renv.lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	lock := new(renvLock)
	if err := json.Unmarshal(text, lock); err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeModelError, "renv.lock can't be read: %v; write it anew with renv::snapshot()", err)
	}
	return lock, nil
}

// rLacking tells, by package, what isn't there as it is asked for.
func rLacking(asked, there map[string]string) map[string]string {
	lacking := map[string]string{}
	for name, version := range asked {
		switch have, ok := there[name]; {
		case !ok:
			lacking[name] = name + " " + version
		case have != version:
			lacking[name] = fmt.Sprintf("%s %s (there is %s)", name, version, have)
		}
	}
	return lacking
}
