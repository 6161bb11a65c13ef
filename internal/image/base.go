package image

import (
	"context"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"modelmanager.dev"
)

// DefaultPlatform is that of images where nobody says otherwise. It isn't this
// machine's: the same folder must be the same image everywhere.
const DefaultPlatform = "linux/amd64"

// Scratch is the reference of the base image with nothing in it.
const Scratch = "scratch"

// Base is an image for a platform, as others are built on it.
type Base struct {
	Reference string // by digest; "scratch"
	Digest    string // of the platform's image, "sha256:…"; "" of scratch
	Platform  string // such as linux/amd64

	image  v1.Image
	config *v1.ConfigFile
}

// Base finds a base image: by digest, or by a tag, which is resolved. Of an
// image for several platforms it is the named one's.
func (r *Registry) Base(ctx context.Context, reference, platform string) (*Base, error) {
	wanted, err := parsePlatform(platform)
	if err != nil {
		return nil, err
	}
	if reference == Scratch {
		return scratch(wanted)
	}
	ref, err := r.parse(reference)
	if err != nil {
		return nil, err
	}
	doing := "reading the image " + reference
	found, err := remote.Get(ref, r.options(ctx, remote.WithPlatform(*wanted))...)
	if err != nil {
		return nil, explain(ctx, err, "%s", doing)
	}
	img, err := found.Image()
	if err != nil {
		if found.MediaType.IsIndex() && strings.Contains(err.Error(), "no child") {
			return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "%s: it isn't there for %s", doing, wanted)
		}
		return nil, explain(ctx, err, "%s", doing)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, explain(ctx, err, "%s", doing)
	}
	if own := (v1.Platform{OS: config.OS, Architecture: config.Architecture}); own.OS != wanted.OS || own.Architecture != wanted.Architecture {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "%s: it is for %s/%s, and not for %s", doing, own.OS, own.Architecture, wanted)
	}
	digest, err := img.Digest()
	if err != nil {
		return nil, explain(ctx, err, "%s", doing)
	}
	return &Base{
		Reference: ref.Context().Digest(digest.String()).Name(), Digest: digest.String(), Platform: wanted.String(),
		image: img, config: config,
	}, nil
}

func scratch(platform *v1.Platform) (*Base, error) {
	config := &v1.ConfigFile{Architecture: platform.Architecture, OS: platform.OS, Variant: platform.Variant, RootFS: v1.RootFS{Type: "layers"}}
	img, err := mutate.ConfigFile(empty.Image, config)
	if err != nil {
		return nil, fmt.Errorf("making an empty image: %w", err)
	}
	return &Base{Reference: Scratch, Platform: platform.String(), image: img, config: config}, nil
}

func parsePlatform(platform string) (*v1.Platform, error) {
	if platform == "" {
		platform = DefaultPlatform
	}
	parsed, err := v1.ParsePlatform(platform)
	if err != nil || parsed.OS == "" || parsed.Architecture == "" {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "%q is no platform; write linux/amd64 or linux/arm64", platform)
	}
	return parsed, nil
}

// layers are the base's, as layers of an OCI image: the bytes stay, and with
// them the digests.
func (b *Base) layers() ([]mutate.Addendum, error) {
	layers, err := b.image.Layers()
	if err != nil {
		return nil, err
	}
	added := make([]mutate.Addendum, len(layers))
	for i, layer := range layers {
		media, err := layer.MediaType()
		if err != nil {
			return nil, err
		}
		switch media {
		case types.DockerLayer:
			media = types.OCILayer
		case types.DockerUncompressedLayer:
			media = types.OCIUncompressedLayer
		}
		added[i] = mutate.Addendum{Layer: layer, MediaType: media}
	}
	return added, nil
}
