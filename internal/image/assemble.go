package image

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Where things are in an image that was made here.
const (
	ModelDir       = "/model"
	EnvironmentDir = "/environment"
)

// User runs a model: nobody in particular, and the same in every image.
const User = "65532:65532"

const title = "org.opencontainers.image.title"

// Image is an assembled image.
type Image struct {
	Digest string // "sha256:…"

	image v1.Image
}

// Layer is what an image has on top of its base.
type Layer struct {
	layer v1.Layer
	what  string // for the image's history
}

// Config is what an image says of itself and starts with. It must depend on
// nothing but what the image is made of.
type Config struct {
	Title      string
	WorkingDir string
	Env        []string // NAME=value, replacing the base's; PATH is put before the base's
	Entrypoint []string
	Cmd        []string
}

// ModelConfig is the configuration of a model's image. The agent, which the
// platform brings along, is its command.
func ModelConfig(model string, environment bool) Config {
	c := Config{Title: model, WorkingDir: ModelDir}
	if environment {
		c.Env = []string{"PATH=" + EnvironmentDir + "/bin", "PYTHONPATH=" + EnvironmentDir}
	}
	return c
}

// Assemble puts layers on top of a base. The same layers on the same base with
// the same configuration are the same image.
func Assemble(base *Base, layers []Layer, config Config) (*Image, error) {
	added, err := base.layers()
	if err != nil {
		return nil, fmt.Errorf("assembling the image of %s: reading its base %s: %w", config.Title, base.Reference, err)
	}
	for _, layer := range layers {
		added = append(added, mutate.Addendum{Layer: layer.layer, MediaType: layerType})
	}
	img, err := assemble(base, layers, added, config)
	if err != nil {
		return nil, fmt.Errorf("assembling the image of %s: %w", config.Title, err)
	}
	digest, err := img.Digest()
	if err != nil {
		return nil, fmt.Errorf("assembling the image of %s: %w", config.Title, err)
	}
	return &Image{Digest: digest.String(), image: img}, nil
}

func assemble(base *Base, layers []Layer, added []mutate.Addendum, config Config) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.Append(img, added...)
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Architecture, file.OS, file.Variant = base.config.Architecture, base.config.OS, base.config.Variant
	file.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	file.History = slices.Clone(base.config.History)
	for _, layer := range layers {
		file.History = append(file.History, v1.History{Created: file.Created, CreatedBy: "model-manager: " + layer.what})
	}
	file.Config = v1.Config{
		User: User, WorkingDir: config.WorkingDir, Env: environ(base.config.Config.Env, config.Env),
		Entrypoint: config.Entrypoint, Cmd: config.Cmd,
	}
	if img, err = mutate.ConfigFile(img, file); err != nil {
		return nil, err
	}
	annotations := map[string]string{title: config.Title}
	if base.Digest != "" {
		// Not its name: the same base may lie in another registry tomorrow.
		annotations["org.opencontainers.image.base.digest"] = base.Digest
	}
	return mutate.Annotations(img, annotations).(v1.Image), nil
}

// defaultPath is where programs are looked for if the base doesn't say.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environ adds variables to those of a base.
func environ(base, more []string) []string {
	env := slices.Clone(base)
	for _, variable := range more {
		name, value, _ := strings.Cut(variable, "=")
		i := slices.IndexFunc(env, func(v string) bool { return strings.HasPrefix(v, name+"=") })
		if name == "PATH" {
			rest := defaultPath
			if i >= 0 {
				rest = strings.TrimPrefix(env[i], "PATH=")
			}
			variable = "PATH=" + value + ":" + rest
		}
		if i >= 0 {
			env[i] = variable
		} else {
			env = append(env, variable)
		}
	}
	return env
}

// searchPath is the base's PATH.
func (b *Base) searchPath() []string {
	for _, variable := range b.config.Config.Env {
		if value, ok := strings.CutPrefix(variable, "PATH="); ok && value != "" {
			return strings.Split(value, ":")
		}
	}
	return strings.Split(defaultPath, ":")
}

// inImage is a path of an image as tar files have it: without a leading slash.
func inImage(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }
