package image

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"modelmanager.dev"
	"modelmanager.dev/internal/archive"
)

// Python is what the lock file of a Python model asks for.
type Python struct {
	// Download puts the wheels of all that is asked for into a folder, for a
	// Python of a version ("3.11") on one of the platforms that pip knows.
	Download func(ctx context.Context, dir, version string, platforms []string) error
	// Inputs are all that the result depends on, but for the base.
	Inputs []string
}

// environments is the repository beside the models' that has environments by
// hash. No model can have its name, which is no DNS label.
const environments = "python_environments"

// layout is raised when the same inputs lead to another layer than before.
const layout = "1"

// Environment returns the layer with what a lock file asks for, at
// /environment: from the cache, or from the repositories under prefix where
// somebody else has put it, or else newly made, and put there. The layer is made
// of wheels alone and needs no Python of any version on this machine but pip's.
func (r *Registry) Environment(ctx context.Context, base *Base, p Python, at Place) (Layer, error) {
	hash := environmentHash(base, p.Inputs)
	got, err, _ := at.Cache.builds.Do(at.Prefix+" "+hash, func() (any, error) { return r.environment(ctx, base, p, hash, at) })
	if err != nil {
		return Layer{}, err
	}
	return got.(Layer), nil
}

// Place says where what is made is kept.
type Place struct {
	Cache    *Cache
	Prefix   string // of repositories, registry.example.org/models
	Scratch  string // a folder for temporary files; "": the system's
	Progress func(string)
}

func (p Place) say(format string, args ...any) {
	if p.Progress != nil {
		p.Progress(fmt.Sprintf(format, args...))
	}
}

func environmentHash(base *Base, inputs []string) string {
	sum := sha256.New()
	for _, input := range append([]string{layout, base.Digest, base.Platform}, inputs...) {
		fmt.Fprintf(sum, "%d:%s\n", len(input), input)
	}
	return hex.EncodeToString(sum.Sum(nil))[:32]
}

func (r *Registry) environment(ctx context.Context, base *Base, p Python, hash string, at Place) (Layer, error) {
	const what = "Python packages"
	repo, err := r.repository(strings.TrimSuffix(at.Prefix, "/") + "/" + environments)
	if err != nil {
		return Layer{}, err
	}
	tag := repo.Tag("env-" + hash)
	// What others use comes before what is here: it is what a pod has already.
	if shared, err := r.shared(ctx, tag); err != nil || shared.layer != nil {
		shared.what = what
		return shared, err
	}
	made, err := at.Cache.layer(hash)
	if err != nil {
		made, err = r.install(ctx, base, p, hash, at)
	}
	if err != nil {
		return Layer{}, err
	}
	layer := Layer{made, what}
	img, err := Assemble(base, []Layer{layer}, Config{Title: "Python packages env-" + hash})
	if err != nil {
		return Layer{}, err
	}
	at.say("pushing the Python packages: %d MB", made.measure.Size>>20)
	if err := remote.Write(tag, img.image, r.options(ctx)...); err != nil {
		return Layer{}, explain(ctx, err, "pushing the Python packages to %s", tag)
	}
	// Of two who make the same at once, the later one's stays; both go on with that.
	shared, err := r.shared(ctx, tag)
	if err == nil && shared.layer == nil {
		err = modelmanager.Errorf(modelmanager.CodeUnavailable, "pushing the Python packages to %s: the registry doesn't have them afterwards", tag)
	}
	shared.what = what
	return shared, err
}

// shared returns the layer that an environment's tag names; none if there is no
// such tag.
func (r *Registry) shared(ctx context.Context, tag name.Tag) (Layer, error) {
	img, err := remote.Image(tag, r.options(ctx)...)
	if missing(err) {
		return Layer{}, nil
	}
	doing := "reading the Python packages " + tag.String()
	if err != nil {
		return Layer{}, explain(ctx, err, "%s", doing)
	}
	layers, err := img.Layers()
	if err != nil {
		return Layer{}, explain(ctx, err, "%s", doing)
	}
	if len(layers) == 0 {
		return Layer{}, modelmanager.Errorf(modelmanager.CodeConflict, "%s: there is another image under that name; delete it", doing)
	}
	return Layer{layer: layers[len(layers)-1]}, nil
}

// layer finds an environment's layer in the cache.
func (c *Cache) layer(hash string) (*layer, error) {
	data, err := c.read("env-" + hash + ".json")
	if err != nil {
		return nil, err
	}
	var m measure
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, err
	}
	blob := "env-" + hash + ".tar.zst"
	info, err := os.Stat(c.path(blob))
	if err != nil {
		return nil, err
	}
	if info.Size() != m.Size {
		return nil, fmt.Errorf("%s has another size than it had", blob)
	}
	c.touch(blob)
	return &layer{measure: m, open: func() (io.ReadCloser, error) { return os.Open(c.path(blob)) }}, nil
}

// install makes an environment's layer.
func (r *Registry) install(ctx context.Context, base *Base, p Python, hash string, at Place) (*layer, error) {
	at.Cache.sweep(ctx)
	contents, err := at.Cache.Contents(ctx, base)
	if err != nil {
		return nil, err
	}
	_, version, err := contents.Python(base)
	if err != nil {
		return nil, err
	}
	platforms, err := wheelPlatforms(base, contents)
	if err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp(at.Scratch, "packages-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for Python packages: %w", err)
	}
	defer os.RemoveAll(scratch)
	wheels, tree := filepath.Join(scratch, "wheels"), filepath.Join(scratch, "environment")
	if err := os.Mkdir(wheels, 0o700); err != nil {
		return nil, fmt.Errorf("making a folder for Python packages: %w", err)
	}
	at.say("fetching packages for Python %s", version)
	if err := p.Download(ctx, wheels, version, platforms); err != nil {
		return nil, err
	}
	if err := unpackWheels(ctx, wheels, tree); err != nil {
		return nil, err
	}
	if err := base.precompile(ctx, contents, tree, scratch, at); err != nil {
		return nil, err
	}
	return at.Cache.pack(tree, hash)
}

// pack writes an environment's layer into the cache.
func (c *Cache) pack(tree, hash string) (*layer, error) {
	files, err := archive.List(tree, nil)
	if err != nil {
		return nil, err
	}
	file, err := c.create()
	if err != nil {
		return nil, err
	}
	m, err := compress(file, func(out *tar.Writer) error { return archive.AppendTo(out, EnvironmentDir[1:], files) })
	if err != nil {
		c.drop(file)
		return nil, err
	}
	if err := c.keep(file, "env-"+hash+".tar.zst"); err != nil {
		return nil, err
	}
	data, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if err := c.write("env-"+hash+".json", data); err != nil {
		return nil, err
	}
	return c.layer(hash)
}

// wheelPlatforms are the platforms whose wheels run on a base, as pip calls
// them, the best first.
func wheelPlatforms(base *Base, contents *Contents) ([]string, error) {
	machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64", "386": "i686", "ppc64le": "ppc64le", "s390x": "s390x"}[base.config.Architecture]
	kind, version, _ := strings.Cut(contents.Libc, " ")
	var major, minor int
	_, err := fmt.Sscanf(version, "%d.%d", &major, &minor)
	if machine == "" || err != nil || kind == "glibc" && major != 2 {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest,
			"packages of Python can't be installed on the base image %s: its architecture is %s and its C library %q", base.Reference, base.config.Architecture, contents.Libc)
	}
	var platforms []string
	if kind == "musl" {
		for ; minor >= 0; minor-- {
			platforms = append(platforms, fmt.Sprintf("musllinux_1_%d_%s", minor, machine))
		}
		return append(platforms, "linux_"+machine), nil
	}
	older := map[int]string{17: "manylinux2014_", 12: "manylinux2010_", 5: "manylinux1_"}
	for ; minor >= 5; minor-- {
		platforms = append(platforms, fmt.Sprintf("manylinux_2_%d_%s", minor, machine))
		if name := older[minor]; name != "" {
			platforms = append(platforms, name+machine)
		}
	}
	return append(platforms, "linux_"+machine), nil
}
