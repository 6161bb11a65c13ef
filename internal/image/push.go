package image

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"modelmanager.dev"
)

// Push pushes an image to a repository, by digest, and returns its reference:
// REPOSITORY@sha256:…. Layers that are there already aren't sent again, and
// those that another repository of the registry has are taken over from it. The
// image appears last of all: one that can't be pushed to its end isn't there.
// progress, which may be nil, is told of the layers' bytes.
func (r *Registry) Push(ctx context.Context, img *Image, repository string, progress func(done, total int64)) (string, error) {
	repo, err := r.repository(repository)
	if err != nil {
		return "", err
	}
	ref := repo.Digest(img.Digest)
	options := r.options(ctx)
	if progress != nil {
		updates := make(chan v1.Update, 100)
		told := make(chan struct{})
		go func() {
			defer close(told)
			for update := range updates {
				if update.Error == nil {
					progress(update.Complete, update.Total)
				}
			}
		}()
		defer func() { <-told }()
		options = append(options, remote.WithProgress(updates)) // Write closes it
	}
	if err := remote.Write(ref, img.image, options...); err != nil {
		return "", explain(ctx, err, "pushing an image to %s", repository)
	}
	return ref.Name(), nil
}

// Copy brings somebody's own image into a repository as it is, and returns its
// reference there.
func (r *Registry) Copy(ctx context.Context, base *Base, repository string, progress func(done, total int64)) (string, error) {
	return r.Push(ctx, &Image{Digest: base.Digest, image: base.image}, repository, progress)
}

// Provenance is what a version's tag says of its image. None of it is part of
// the image: a content that comes back in another commit is the same version.
type Provenance struct {
	Model   string
	Version int
	Digest  string // of the version: its content's identity; "": not said
	Source  modelmanager.Source
	Created string // RFC 3339; "": the epoch
}

// The annotations of a tag's index: OCI's own, and two that it has no words for.
const (
	annotationVersion  = "org.opencontainers.image.version"
	annotationCreated  = "org.opencontainers.image.created"
	annotationSource   = "org.opencontainers.image.source"
	annotationRevision = "org.opencontainers.image.revision"
	annotationPath     = "dev.modelmanager.source.path"
	annotationDigest   = "dev.modelmanager.version.digest"
)

// Tag gives an image, which is named by digest, its version's tag. The tag names
// an index whose only entry is the image, and which says where it comes from. A
// tag never changes: one that names another image is CodeConflict; one that
// names this image is left as it is, whatever it says of its origin.
func (r *Registry) Tag(ctx context.Context, reference string, p Provenance) error {
	tag := strconv.Itoa(p.Version)
	image, err := r.parse(reference)
	if err != nil {
		return err
	}
	digest, ok := image.(name.Digest)
	if !ok {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "tagging %s: it must be named by digest", reference)
	}
	ref := digest.Context().Tag(tag)
	if named, err := r.named(ctx, ref, digest); err != nil || named {
		return err
	}
	index, err := r.provenance(ctx, digest, p)
	if err != nil {
		return err
	}
	if err := remote.WriteIndex(ref, index, r.options(ctx)...); err != nil {
		return explain(ctx, err, "tagging %s as %s", reference, tag)
	}
	// Registries don't compare before they write: see who was last.
	_, err = r.named(ctx, ref, digest)
	return err
}

// named tells whether a tag is there and names an image.
func (r *Registry) named(ctx context.Context, tag name.Tag, image name.Digest) (bool, error) {
	found, err := remote.Get(tag, r.options(ctx)...)
	if missing(err) {
		return false, nil
	}
	if err != nil {
		return false, explain(ctx, err, "reading the tag %s", tag)
	}
	if found.Digest.String() == image.DigestStr() {
		return true, nil
	}
	if found.MediaType.IsIndex() {
		index, err := found.ImageIndex()
		if err != nil {
			return false, explain(ctx, err, "reading the tag %s", tag)
		}
		manifest, err := index.IndexManifest()
		if err != nil {
			return false, explain(ctx, err, "reading the tag %s", tag)
		}
		if slices.ContainsFunc(manifest.Manifests, func(d v1.Descriptor) bool { return d.Digest.String() == image.DigestStr() }) {
			return true, nil
		}
	}
	return false, modelmanager.Errorf(modelmanager.CodeConflict,
		"tagging %s: the tag %s names another image, %s; a version's tag never changes. Delete the tag if somebody set it by hand", image, tag.TagStr(), found.Digest)
}

// provenance makes the index around an image.
func (r *Registry) provenance(ctx context.Context, ref name.Digest, p Provenance) (v1.ImageIndex, error) {
	img, err := remote.Image(ref, r.options(ctx)...)
	if err != nil {
		return nil, explain(ctx, err, "reading %s", ref)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, explain(ctx, err, "reading %s", ref)
	}
	created := p.Created
	if created == "" {
		created = "1970-01-01T00:00:00Z"
	}
	annotations := map[string]string{title: p.Model, annotationVersion: strconv.Itoa(p.Version), annotationCreated: created}
	for key, value := range map[string]string{
		annotationSource: p.Source.Repository, annotationRevision: p.Source.Commit, annotationPath: p.Source.Path, annotationDigest: p.Digest,
	} {
		if value != "" {
			annotations[key] = value
		}
	}
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{
		Add:        img,
		Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant}},
	})
	return mutate.Annotations(index, annotations).(v1.ImageIndex), nil
}

// Facts are what an image in a registry says of itself.
type Facts struct {
	Reference string // by digest
	Digest    string
	Size      int64 // of its layers, compressed
	Platform  string
	Dir       string   // its working directory
	Command   []string // its entrypoint and command
}

// Inspect reads what an image says of itself. The reference must be by digest,
// and name the image of one platform.
func (r *Registry) Inspect(ctx context.Context, reference string) (Facts, error) {
	ref, err := r.parse(reference)
	if err != nil {
		return Facts{}, err
	}
	if _, ok := ref.(name.Digest); !ok {
		return Facts{}, modelmanager.Errorf(modelmanager.CodeBadRequest, "the image %s has no digest; a version is immutable, so name it as …@sha256:<64 hex digits>", reference)
	}
	doing := "looking at the image " + reference
	found, err := remote.Get(ref, r.options(ctx)...)
	if err != nil {
		return Facts{}, explain(ctx, err, "%s", doing)
	}
	if !found.MediaType.IsImage() {
		return Facts{}, modelmanager.Errorf(modelmanager.CodeBadRequest, "%s: it isn't an image of one platform (%s); name the platform's own digest", doing, found.MediaType)
	}
	img, err := found.Image()
	if err != nil {
		return Facts{}, explain(ctx, err, "%s", doing)
	}
	return facts(ctx, img, ref.Name(), doing)
}

// Facts are what the base says of itself.
func (b *Base) Facts(ctx context.Context) (Facts, error) {
	return facts(ctx, b.image, b.Reference, "looking at the image "+b.Reference)
}

func facts(ctx context.Context, img v1.Image, reference, doing string) (Facts, error) {
	manifest, err := img.Manifest()
	if err != nil {
		return Facts{}, explain(ctx, err, "%s", doing)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return Facts{}, explain(ctx, err, "%s", doing)
	}
	digest, err := img.Digest()
	if err != nil {
		return Facts{}, explain(ctx, err, "%s", doing)
	}
	f := Facts{
		Reference: reference, Digest: digest.String(), Platform: config.OS + "/" + config.Architecture,
		Dir: config.Config.WorkingDir, Command: slices.Concat(config.Config.Entrypoint, config.Config.Cmd),
	}
	for _, layer := range manifest.Layers {
		f.Size += layer.Size
	}
	return f, nil
}

// Allowed tells whether an image lies under one of the prefixes of repositories
// that an operator allowed, such as registry.example.org/models, or a registry
// as a whole.
func (r *Registry) Allowed(reference string, prefixes []string) (bool, error) {
	ref, err := r.parse(reference)
	if err != nil {
		return false, err
	}
	for _, prefix := range prefixes {
		prefix = strings.TrimSuffix(prefix, "/")
		allowed := ""
		if host, _, deeper := strings.Cut(prefix, "/"); deeper {
			repo, err := r.repository(prefix)
			if err != nil {
				return false, err
			}
			allowed = repo.Name()
		} else {
			registry, err := name.NewRegistry(host, name.StrictValidation)
			if err != nil {
				return false, modelmanager.Errorf(modelmanager.CodeBadRequest, "%.300q is no name of a registry; write registry.example.org", prefix)
			}
			allowed = registry.Name()
		}
		if full := ref.Context().Name(); full == allowed || strings.HasPrefix(full, allowed+"/") {
			return true, nil
		}
	}
	return false, nil
}
