package pipeline

import (
	"context"
	_ "embed" // of the program that installs packages of R
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/image"
)

// extend makes a base with what another one lacks: packages of Debian by apt,
// packages of R as renv.lock names them, compiled where they must be. It is made
// once for all models that ask for the same on the same base. What apt and
// compilers make isn't the same each time: it is the one that is in the registry
// that counts.
func (i *Images) extend(ctx context.Context, p *Prepared, base *image.Base, lacks *lacking, options Options) (*image.Base, error) {
	if err := lacks.check(base); err != nil {
		return nil, err
	}
	at := image.Place{Cache: i.cache, Prefix: i.Repository, Scratch: i.Scratch, Progress: options.Progress}
	return i.registry.Extended(ctx, base, lacks.inputs(), at, func(ctx context.Context, repository string) (string, error) {
		dir, err := os.MkdirTemp(i.Scratch, "base-")
		if err != nil {
			return "", err
		}
		defer os.RemoveAll(dir)
		for name, text := range lacks.steps(base) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				return "", fmt.Errorf("writing what BuildKit installs: %w", err)
			}
		}
		options.say("installing with BuildKit what the base image lacks: %s", strings.Join(slices.Concat(lacks.debian, lacks.rText()), ", "))
		return i.Builder.Build(ctx, image.Recipe{
			Name: "the base image of " + p.Spec.Name, Dir: dir, Dockerfile: "Dockerfile",
			Repository: repository, Plain: i.registry.Plain(repository), Platform: i.Platform, Progress: options.Progress,
		})
	})
}

// debianPackage is a package's name, with a version if it must be that one.
var debianPackage = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]*(:[a-z0-9]+)?(=[A-Za-z0-9.+:~-]+)?$`)

// check refuses what can't be installed, and what isn't what it should be: all of
// it becomes part of a Dockerfile.
func (l *lacking) check(base *image.Base) error {
	if base.Digest == "" {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "build.packages asks for %s, and nothing can be installed on an empty base image; name another one with --base", strings.Join(l.packages, ", "))
	}
	for _, name := range l.packages {
		if !debianPackage.MatchString(name) {
			return modelmanager.Errorf(modelmanager.CodeInvalidSpec, "build.packages: %q is no name of a package of Debian; write libxml2, or libxml2=2.9.14+dfsg-1", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.r)) {
		asked := l.renv.Packages[name]
		if !rPackage.MatchString(name) || !rVersion.MatchString(asked.Version) {
			return modelmanager.Errorf(modelmanager.CodeInvalidSpec, "renv.lock asks for %q in version %q, which is no package of R; write it anew with renv::snapshot()", name, asked.Version)
		}
		if !slices.Contains([]string{"", "Repository", "CRAN"}, asked.Source) {
			return modelmanager.Errorf(modelmanager.CodeInvalidSpec,
				"renv.lock takes %s from %s, and BuildKit is only told to install from repositories such as CRAN; install it in a Dockerfile (build.dockerfile), or name a base that has it with --base r=IMAGE", name, asked.Source)
		}
	}
	for _, repository := range l.renv.repositories() {
		if u, err := url.Parse(repository); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.ContainsAny(repository, " \t\r\n") {
			return modelmanager.Errorf(modelmanager.CodeInvalidSpec, "renv.lock names the repository %q, which is no address on the web; write it anew with renv::snapshot()", repository)
		}
	}
	return nil
}

// Names and versions of R's packages.
var (
	rPackage = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9.]*$`)
	rVersion = regexp.MustCompile(`^[0-9]+([.-][0-9]+)+$`)
)

// extension is raised when the same inputs lead to something else than before.
const extension = "1"

// inputs are all that an extension depends on, but for the base.
func (l *lacking) inputs() []string {
	inputs := append([]string{extension, "debian"}, slices.Sorted(slices.Values(l.packages))...)
	if len(l.r) > 0 {
		versions := l.renv.versions()
		inputs = append(inputs, "r")
		for _, name := range slices.Sorted(maps.Keys(versions)) {
			inputs = append(inputs, name+" "+versions[name])
		}
		inputs = append(inputs, l.renv.repositories()...)
	}
	return inputs
}

// apt installs packages, and leaves none of what it only needs for that.
func apt(packages ...string) string {
	return "RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends " + strings.Join(packages, " ") +
		" && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/cache/debconf /var/cache/ldconfig /var/log/*\n"
}

// rLibrary is where packages of R lie in an image.
const rLibrary = image.EnvironmentDir + "/library"

//go:embed install.R
var installR string

func lines(texts []string) string { return strings.Join(texts, "\n") + "\n" }

// steps are the files that BuildKit is given.
func (l *lacking) steps(base *image.Base) map[string]string {
	files := map[string]string{}
	var text strings.Builder
	packages := slices.Sorted(slices.Values(l.packages))
	fmt.Fprintf(&text, "FROM %s AS base\nUSER 0\n", base.Reference)
	if len(packages) > 0 {
		text.WriteString(apt(packages...))
	}
	if len(l.r) > 0 {
		// Compilers are needed to install, and not to run.
		fmt.Fprintf(&text, "\nFROM base AS compiled\n%sCOPY packages repositories install.R /build/\nRUN Rscript --vanilla /build/install.R /build %s\n", apt("r-base-dev"), rLibrary)
		fmt.Fprintf(&text, "\nFROM base\nCOPY --from=compiled %[1]s %[1]s\nENV R_LIBS=%[1]s\n", rLibrary)
		files["install.R"], files["repositories"] = installR, lines(l.renv.repositories())
		var packages []string
		for _, name := range slices.Sorted(maps.Keys(l.r)) {
			packages = append(packages, name+" "+l.renv.Packages[name].Version)
		}
		files["packages"] = lines(packages)
	}
	fmt.Fprintf(&text, "USER %s\n", image.User)
	files["Dockerfile"] = text.String()
	return files
}
