package pipeline

import (
	"context"
	"fmt"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/image"
)

// tagsLooked is at how many of a model's latest versions each run looks.
const tagsLooked = 3

// tagLeft tags images that a run before has published, and was killed before it
// tagged them: of the versions that are this commit's, or are meant by it, and of
// the latest few, so that a commit that overtakes another completes it. Nothing
// changes where the tags are there.
func (r *planRun) tagLeft(ctx context.Context, step *PlanStep, f facts) error {
	if r.Images == nil || r.replay != nil {
		return nil
	}
	versions := f.latest
	if f.same != nil {
		versions = append([]modelmanager.VersionInfo{*f.same}, versions...)
	}
	done := map[int]bool{}
	for _, version := range versions {
		ours := version.Source.Commit == r.plan.Commit || f.same != nil && version.Version == f.same.Version
		if version.Artifact.Image == "" || done[version.Version] || !ours && len(done) >= tagsLooked {
			continue
		}
		done[version.Version] = true
		err := r.Images.tag(ctx, version.Artifact.Image, image.Provenance{
			Model: version.Model, Version: version.Version, Digest: version.Digest, Source: version.Source, Created: r.committed(ctx, version.Source),
		})
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case ours:
			return fmt.Errorf("version %d of %s is published, but its image has no tag: %w", version.Version, version.Model, err)
		default:
			r.say(step.Model, fmt.Sprintf("the image of version %d has no tag: %v", version.Version, err))
		}
	}
	return nil
}

// committed is when a version's commit was made, as RFC 3339 has it; "" if this
// clone doesn't know.
func (r *planRun) committed(ctx context.Context, source modelmanager.Source) string {
	if source.Commit == "" {
		return ""
	}
	commit, err := r.plan.span.Repository.Resolve(ctx, source.Commit)
	if err != nil {
		return ""
	}
	return commit.When.UTC().Format(time.RFC3339)
}
