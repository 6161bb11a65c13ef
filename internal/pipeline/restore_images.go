package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"modelmanager.dev"
	"modelmanager.dev/internal/image"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/repository"
)

// ImageRestorer makes an empty server equal to what a registry of images and a
// git repository know: a version's number and image are those of its tag, and its
// spec is that of the commit which the tag names. Nothing is built, nothing gets
// another number, and nothing takes traffic. It can be killed and run again.
type ImageRestorer struct {
	Server     Restoration
	Images     *Images // of which only the registry is taken
	Repository *repository.Repository
	Revision   string // whose history names the models
	Scratch    string
	Progress   func(model, text string) // may be nil
}

// Restore restores each model that the history names. One that fails doesn't
// keep the others, nor a version the model's others; those that are missing are
// named in the errors.
func (r *ImageRestorer) Restore(ctx context.Context, told func(Restored)) error {
	names, err := namesEver(ctx, r.Repository, r.Revision)
	if err != nil {
		return err
	}
	r.Images.open()
	var failed []error
	for _, name := range names {
		restored := r.model(ctx, name)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if restored.Err != nil {
			failed = append(failed, restored.Err)
		}
		told(restored)
	}
	return errors.Join(failed...)
}

// namesEver lists the models that a branch has ever had, sorted.
func namesEver(ctx context.Context, r *repository.Repository, revision string) ([]string, error) {
	commits, err := r.FirstParents(ctx, revision)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	from := repository.Nothing()
	for _, id := range commits {
		commit, err := r.Resolve(ctx, id)
		if err != nil {
			return nil, err
		}
		changes, err := newSpan(r, from, commit).Changes(ctx)
		if err != nil {
			return nil, fmt.Errorf("at commit %.12s: %w", id, err)
		}
		for _, change := range changes {
			if registry.CheckName(change.Model) == nil {
				names[change.Model] = true
			}
		}
		from = commit
	}
	var sorted []string
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	return sorted, nil
}

func (r *ImageRestorer) model(ctx context.Context, name string) Restored {
	restored := Restored{Model: name}
	repository := r.Images.repository(name)
	versions, err := r.Images.registry.Tagged(ctx, repository)
	restored.failed(err)
	if len(versions) == 0 && err == nil {
		restored.failed(modelmanager.Errorf(modelmanager.CodeNotFound,
			"restoring %s: %s has no image of any version; it was never published, or its images are lost", name, repository))
	}
	next := 1
	for _, version := range versions {
		for ; next < version.Version; next++ {
			restored.failed(modelmanager.Errorf(modelmanager.CodeNotFound,
				"restoring version %d of %s: %s has no tag %d; if there was such a version, its image is lost or untagged", next, name, repository, next))
		}
		next = version.Version + 1
		if err := r.version(ctx, name, version); err != nil {
			restored.failed(fmt.Errorf("restoring version %d of %s: %w", version.Version, name, err))
			continue
		}
		restored.Versions++
	}
	return restored
}

func (r *ImageRestorer) version(ctx context.Context, model string, version image.Tagged) error {
	there, err := r.Server.Version(ctx, model, version.Version)
	switch {
	case err == nil && there.Artifact.Digest == version.ImageDigest && (version.Digest == "" || version.Digest == there.Digest):
		return nil
	case err == nil:
		return modelmanager.Errorf(modelmanager.CodeConflict, "the server has another content under this number, %s; restore into an empty server", there.Digest)
	case modelmanager.CodeOf(err) != modelmanager.CodeNotFound:
		return err
	case version.Source.Commit == "":
		return modelmanager.Errorf(modelmanager.CodeNotFound,
			"its tag names no commit: it was published of files that weren't committed, and only an exported state (mm export) knows its model.yaml")
	}
	if r.Progress != nil {
		r.Progress(model, fmt.Sprintf("restoring version %d", version.Version))
	}
	folder, commit, remove, err := committed(ctx, r.Repository, version.Source, model, r.Scratch)
	if err != nil {
		return err
	}
	defer remove()
	tree, err := Tree(folder)
	if err != nil {
		return err
	}
	s := folder.Spec
	if s.NeedsImage() { // the image's command went into it
		facts, err := r.Images.registry.Inspect(ctx, version.Reference)
		if err != nil {
			return err
		}
		if s, err = copied(s); err != nil {
			return err
		}
		if err := takeCommand(s, facts.Command); err != nil {
			return err
		}
	}
	canonical, err := s.Canonical()
	if err != nil {
		return err
	}
	if digest := registry.Digest(canonical, version.ImageDigest); version.Digest != "" && digest != version.Digest {
		return modelmanager.Errorf(modelmanager.CodeConflict,
			"commit %.12s doesn't have the model.yaml that was published: with it the version's digest would be %s, and it was %s", commit.ID, digest, version.Digest)
	}
	source := version.Source
	source.Tree, source.Author = tree, commit.Author
	_, err = r.Server.Publish(ctx, model, modelmanager.PublishRequest{
		Spec: json.RawMessage(canonical), Artifact: modelmanager.ArtifactRef{Image: version.Reference}, Source: source,
		Version: version.Version, Hold: true, Reason: "restored", ApprovedBy: commit.ApprovedBy,
	}, "")
	return err
}
