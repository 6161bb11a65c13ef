package api

import (
	"context"
	"fmt"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// rollOut gives a published version the traffic that its spec asks for:
// immediate, all; canary, its first step (all, of a model without traffic);
// manual, none. A version that has all of it already keeps it.
func (a *API) rollOut(ctx context.Context, s *spec.Spec, version modelmanager.Version, reason string) error {
	model, err := a.Registry.Get(ctx, version.Model)
	if err != nil {
		return err
	}
	current := model.Traffic()
	if len(current.Versions) == 1 && current.Versions[0].Version == version.Number {
		return nil
	}
	if reason == "" {
		reason = fmt.Sprintf("version %d was published, rollout %s", version.Number, s.Rollout.Strategy)
	}
	next := modelmanager.All(version.Number)
	switch {
	case s.Rollout.Strategy == "manual":
		return nil
	case s.Rollout.Strategy == "canary" && len(current.Versions) > 0 && len(s.Rollout.Steps) > 0:
		next = canary(current.Largest(), version.Number, s.Rollout.Steps[0])
	}
	next.Shadow = current.Shadow
	if next.Shadow == version.Number {
		next.Shadow = 0
	}
	_, err = a.Registry.SetTraffic(ctx, version.Model, next, change(ctx, reason))
	return err
}

// canary sends a percentage to a new version, and the rest to the one before.
func canary(before, version, percent int) modelmanager.Traffic {
	if percent >= 100 {
		return modelmanager.All(version)
	}
	return modelmanager.Traffic{Versions: []modelmanager.Share{
		{Version: before, Percent: 100 - percent}, {Version: version, Percent: percent},
	}}
}

// imageArtifact is an image by digest; a tag could change under a version.
func imageArtifact(reference string) (modelmanager.Artifact, error) {
	_, digest, found := strings.Cut(reference, "@sha256:")
	if !found || len(digest) != 64 {
		return modelmanager.Artifact{}, modelmanager.Errorf(modelmanager.CodeBadRequest,
			"image %q has no digest; a version is immutable, so name it as …@sha256:<64 hex digits>", reference)
	}
	return modelmanager.Artifact{Digest: "sha256:" + digest, Image: reference}, nil
}
