package image

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"modelmanager.dev"
)

// Tagged is a version's image, as its tag names it.
type Tagged struct {
	Provenance
	Reference   string // of the image, by digest
	ImageDigest string // "sha256:…"
}

// Tagged lists the versions that a model's repository has tags of, the lowest
// number first; none where there is no such repository. Tags that are no numbers
// are not meant.
//
// Errors: CodeConflict for numbers that somebody else set, which name no version;
// the others are returned beside it.
func (r *Registry) Tagged(ctx context.Context, repository string) ([]Tagged, error) {
	repo, err := r.repository(repository)
	if err != nil {
		return nil, err
	}
	tags, err := remote.List(repo, r.options(ctx)...)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, explain(ctx, err, "listing the tags of %s", repository)
	}
	var numbers []int
	for _, tag := range tags {
		if number, err := strconv.Atoi(tag); err == nil && number > 0 && strconv.Itoa(number) == tag {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	var all []Tagged
	var strange []error
	for _, number := range numbers {
		tagged, err := r.tagged(ctx, repo, number)
		switch {
		case modelmanager.CodeOf(err) == modelmanager.CodeConflict:
			strange = append(strange, err)
		case err != nil:
			return nil, err
		default:
			all = append(all, tagged)
		}
	}
	return all, errors.Join(strange...)
}

// tagged reads one version's tag.
func (r *Registry) tagged(ctx context.Context, repo name.Repository, number int) (Tagged, error) {
	var none Tagged
	tag := repo.Tag(strconv.Itoa(number))
	doing := "reading the tag " + tag.Name()
	found, err := remote.Get(tag, r.options(ctx)...)
	if err != nil {
		return none, explain(ctx, err, "%s", doing)
	}
	strange := modelmanager.Errorf(modelmanager.CodeConflict,
		"%s: it isn't what mm publish makes of a version; delete the tag if somebody set it by hand", doing)
	if !found.MediaType.IsIndex() {
		return none, strange
	}
	index, err := found.ImageIndex()
	if err != nil {
		return none, explain(ctx, err, "%s", doing)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return none, explain(ctx, err, "%s", doing)
	}
	says := manifest.Annotations
	if len(manifest.Manifests) != 1 || says[annotationVersion] != tag.TagStr() {
		return none, strange
	}
	digest := manifest.Manifests[0].Digest.String()
	return Tagged{
		Provenance: Provenance{
			Model: says[title], Version: number, Digest: says[annotationDigest], Created: says[annotationCreated],
			Source: modelmanager.Source{Repository: says[annotationSource], Commit: says[annotationRevision], Path: says[annotationPath]},
		},
		Reference: repo.Digest(digest).Name(), ImageDigest: digest,
	}, nil
}
