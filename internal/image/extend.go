package image

import (
	"context"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// extendedBases is the repository beside the models' that has extended bases by
// hash. No model can have its name, which is no DNS label.
const extendedBases = "extended_bases"

// Extended returns a base with more in it: from the repositories under the
// place's prefix where somebody else has put it, or else newly built, and put
// there. inputs are all that it depends on, beside the base; build pushes it to a
// repository and returns its reference by digest.
func (r *Registry) Extended(ctx context.Context, base *Base, inputs []string, at Place, build func(ctx context.Context, repository string) (string, error)) (*Base, error) {
	hash := environmentHash(base, inputs)
	got, err, _ := at.Cache.builds.Do(extendedBases+" "+at.Prefix+" "+hash, func() (any, error) {
		repository := strings.TrimSuffix(at.Prefix, "/") + "/" + extendedBases
		tag, err := r.repository(repository)
		if err != nil {
			return nil, err
		}
		return r.extended(ctx, base, tag.Tag("base-"+hash), func() (string, error) { return build(ctx, repository) })
	})
	if err != nil {
		return nil, err
	}
	return got.(*Base), nil
}

func (r *Registry) extended(ctx context.Context, base *Base, tag name.Tag, build func() (string, error)) (*Base, error) {
	_, err := remote.Head(tag, r.options(ctx)...)
	if err != nil && !missing(err) {
		return nil, explain(ctx, err, "reading the extended base image %s", tag)
	}
	if err != nil {
		reference, err := build()
		if err != nil {
			return nil, err
		}
		if err := r.name(ctx, reference, tag); err != nil {
			return nil, err
		}
	}
	// Of two who make the same at once, one's stays; both go on with that.
	return r.Base(ctx, tag.Name(), base.Platform)
}

// name gives an image a tag, unless somebody has given it to another one meanwhile.
func (r *Registry) name(ctx context.Context, reference string, tag name.Tag) error {
	_, err := remote.Head(tag, r.options(ctx)...)
	switch {
	case err == nil:
		return nil
	case !missing(err): // it may be there, and would be overwritten
		return explain(ctx, err, "reading the extended base image %s", tag)
	}
	image, err := r.parse(reference)
	if err != nil {
		return err
	}
	found, err := remote.Get(image, r.options(ctx)...)
	if err != nil {
		return explain(ctx, err, "reading the extended base image %s", reference)
	}
	if err := remote.Tag(tag, found, r.options(ctx)...); err != nil {
		return explain(ctx, err, "tagging the extended base image %s", tag)
	}
	return nil
}
