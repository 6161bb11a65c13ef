package pipeline

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/image"
	"modelmanager.dev/internal/spec"
)

// Images says how models become images, for a server that runs those. It is
// safe for concurrent use.
type Images struct {
	// Repository is the prefix of the repositories that images are pushed to:
	// registry.example.org/models gets …/models/NAME.
	Repository string
	// Platform is what the images are for; "": linux/amd64.
	Platform string
	// Bases are the images that models are put on, by language: python, r,
	// java, or a program's name; with a version (python3.12) for those whose
	// build.version is that. Programs that the folder itself brings are
	// "static", whose base is "scratch" where none is named.
	Bases map[string]string
	// Cache is a folder for what is dear to make again.
	Cache string
	// Insecure are the registries that may be spoken to without TLS, beside
	// those on loopback.
	Insecure []string
	// Environments knows about lock files.
	Environments *environment.Manager
	Scratch      string // a folder for temporary files; "": the system's
	// Builder runs what can't be put together without running it: Dockerfiles,
	// installations of packages. nil: there is none, and models that need one
	// are refused.
	Builder ImageBuilder
	Afresh  bool // the Builder runs every step of a Dockerfile again

	once     sync.Once
	registry *image.Registry
	cache    *image.Cache
}

func (i *Images) open() {
	i.once.Do(func() {
		i.registry = image.NewRegistry(image.Options{Insecure: i.Insecure})
		i.cache = &image.Cache{Dir: i.Cache}
	})
}

// repository is where a model's images go.
func (i *Images) repository(model string) string {
	return strings.TrimSuffix(i.Repository, "/") + "/" + model
}

// push makes the image of a prepared folder, or takes the author's own, and
// pushes it; it returns its reference by digest. Of the author's own image, the
// command goes into the spec.
func (i *Images) push(ctx context.Context, p *Prepared, options Options) (string, error) {
	i.open()
	if i.Repository == "" {
		return "", modelmanager.Errorf(modelmanager.CodeBadRequest,
			"publishing %s: the server runs images, and nobody says where to push them; give --repository registry.example.org/models", p.Spec.Name)
	}
	if p.Spec.NeedsImage() {
		if p.Spec.Build.Dockerfile != "" {
			return i.buildOwn(ctx, p, options)
		}
		return i.own(ctx, p, options)
	}
	img, err := i.assemble(ctx, p, options)
	if err != nil {
		return "", err
	}
	repository := i.repository(p.Spec.Name)
	options.say("pushing the image to %s", repository)
	return i.registry.Push(ctx, img, repository, options.pushed())
}

// own brings the author's own image beside the other models': there it stays as
// long as its versions, and pods need no more rights.
func (i *Images) own(ctx context.Context, p *Prepared, options Options) (string, error) {
	base, err := i.registry.Base(ctx, p.Spec.Build.Image, i.Platform)
	if err != nil {
		return "", err
	}
	facts, err := base.Facts(ctx)
	if err != nil {
		return "", err
	}
	if err := takeCommand(p.Spec, facts.Command); err != nil {
		return "", err
	}
	repository := i.repository(p.Spec.Name)
	options.say("copying %s to %s", p.Spec.Build.Image, repository)
	return i.registry.Copy(ctx, base, repository, options.pushed())
}

// takeCommand gives a spec without a command of its own that of its image.
func takeCommand(s *spec.Spec, command []string) error {
	run := &s.Run
	var own *[]string
	switch {
	case run.Python != "" || run.R != "":
		return nil
	case run.HTTP != nil:
		own = &run.HTTP.Command
	case run.Job != nil:
		own = &run.Job.Command
	default:
		own = &run.Command
	}
	if len(*own) > 0 {
		return nil
	}
	if len(command) == 0 {
		return modelmanager.Errorf(modelmanager.CodeInvalidSpec,
			"publishing %s: neither its model.yaml nor its image has a command; write one under run, or an ENTRYPOINT into the image", s.Name)
	}
	*own = slices.Clone(command)
	return nil
}

// assemble makes the image of a folder that was prepared here.
func (i *Images) assemble(ctx context.Context, p *Prepared, options Options) (*image.Image, error) {
	language, err := languageOf(p)
	if err != nil {
		return nil, err
	}
	base, err := i.base(ctx, p.Spec, language)
	if err != nil {
		return nil, err
	}
	if base, err = i.suitable(ctx, p, language, base, options); err != nil {
		return nil, fmt.Errorf("making the image of %s: %w", p.Spec.Name, err)
	}
	lock, err := i.Environments.PythonLock(environment.Need{Spec: p.Spec, Dir: p.Dir})
	if err != nil {
		return nil, err
	}
	var layers []image.Layer
	if lock != nil {
		packages := image.Python{Inputs: lock.Inputs, Download: func(ctx context.Context, dir, version string, platforms []string) error {
			return lock.Download(ctx, dir, version, platforms, options.Progress)
		}}
		at := image.Place{Cache: i.cache, Prefix: i.Repository, Scratch: i.Scratch, Progress: options.Progress}
		layer, err := i.registry.Environment(ctx, base, packages, at)
		if err != nil {
			return nil, fmt.Errorf("making the image of %s: %w", p.Spec.Name, err)
		}
		layers = append(layers, layer)
	}
	options.say("assembling the image")
	folder, err := i.cache.FolderLayers(p.Dir)
	if err != nil {
		return nil, fmt.Errorf("making the image of %s: %w", p.Spec.Name, err)
	}
	return image.Assemble(base, append(layers, folder...), image.ModelConfig(p.Spec.Name, lock != nil))
}

// tag names a published version's image.
func (i *Images) tag(ctx context.Context, reference string, p image.Provenance) error {
	i.open()
	return i.registry.Tag(ctx, reference, p)
}

// pushEvery bounds how often it is told how far a push has come.
const pushEvery = 2 * time.Second

// pushed tells how far a push has come, if it takes long.
func (o Options) pushed() func(done, total int64) {
	told := time.Now()
	return func(done, total int64) {
		if time.Since(told) >= pushEvery && done < total {
			told = time.Now()
			o.say("pushing: %d of %d MB", done>>20, total>>20)
		}
	}
}

// CommitTime is when a folder was last committed, as RFC 3339 has it; "" if git
// doesn't know, or the folder has changed since.
func CommitTime(ctx context.Context, dir string, source modelmanager.Source) string {
	if source.Commit == "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	output, err := exec.CommandContext(ctx, "git", "-C", dir, "show", "-s", "--format=%cI", source.Commit).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(output))
}
