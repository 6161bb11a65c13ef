package api

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/rollout"
	"modelmanager.dev/internal/spec"
)

// rollOut gives a published version the traffic that its spec asks for:
// immediate, all; canary, its first step, from which the leader takes it further
// (all, where there is nothing to split); manual, none. A version that has all
// of it already keeps it, and one whose canary is under way goes on from where
// it is; the one that a canary under way is measured against gets all again.
func (a *API) rollOut(ctx context.Context, s *spec.Spec, version modelmanager.Version, request modelmanager.RolloutRequest) error {
	for again := 0; ; again++ {
		err := a.rollOutOnce(ctx, s, version, request)
		if modelmanager.CodeOf(err) != modelmanager.CodeConflict || request.Seen != nil || again == rollOutAgain {
			return err
		}
	}
}

// rollOutAgain is how often a rollout looks again where somebody else changed
// the traffic meanwhile.
const rollOutAgain = 20

func (a *API) rollOutOnce(ctx context.Context, s *spec.Spec, version modelmanager.Version, request modelmanager.RolloutRequest) error {
	model, err := a.Registry.Get(ctx, version.Model)
	if err != nil {
		return err
	}
	current := model.Traffic()
	reason := request.Reason
	if reason == "" {
		reason = fmt.Sprintf("version %d was published, rollout %s", version.Number, s.Rollout.Strategy)
	}
	next, by := modelmanager.All(version.Number), change(ctx, reason)
	switch {
	case goesOn(current, version.Number, s.Rollout.Strategy):
		if request.Commit == "" {
			return nil
		}
		next = current
	case s.Rollout.Strategy == "manual":
		return nil
	case s.Rollout.Strategy == "canary":
		step, why, err := a.firstStep(ctx, s, current, version, asked(ctx, request))
		if err != nil {
			return err
		}
		if len(step.Versions) > 0 {
			next, by.By, by.Reason = step, modelmanager.ByRollout, why
		}
	}
	next.Shadow = current.Shadow
	if next.Shadow == version.Number {
		next.Shadow = 0
	}
	seen := &current.At
	if request.Seen != nil {
		seen = request.Seen
	}
	_, err = a.Registry.SetTrafficFor(ctx, version.Model, next, by, registry.ByCommit{Commit: request.Commit, Seen: seen})
	return err
}

// goesOn tells whether a version that is rolled out has what it may have by now.
func goesOn(current modelmanager.Traffic, version int, strategy string) bool {
	if _, tried, canary := current.Canary(); canary {
		return tried.Version == version && strategy == "canary"
	}
	takesPart := slices.ContainsFunc(current.Versions, func(share modelmanager.Share) bool { return share.Version == version })
	return takesPart && (len(current.Versions) == 1 || strategy == "canary")
}

// asked says who asks for a rollout, and why.
func asked(ctx context.Context, request modelmanager.RolloutRequest) string {
	if request.Reason == "" {
		return "published by " + caller(ctx)
	}
	return caller(ctx) + ": " + request.Reason
}

// firstStep returns the first step of a version's canary; none where there are
// no calls to split: nothing has traffic, or what has only runs jobs.
func (a *API) firstStep(ctx context.Context, s *spec.Spec, current modelmanager.Traffic, version modelmanager.Version, asked string) (modelmanager.Traffic, string, error) {
	none := modelmanager.Traffic{}
	step, why, ok := rollout.First(current, version.Number, s.Rollout, asked)
	if !ok || !slices.Contains(s.Serve, modelmanager.RealTime) {
		return none, "", nil
	}
	before, err := a.Registry.Version(ctx, version.Model, rollout.Base(current))
	if err != nil {
		return none, "", err
	}
	old, err := spec.FromCanonical(before.Spec)
	if err != nil || !slices.Contains(old.Serve, modelmanager.RealTime) {
		return none, "", err
	}
	return step, why, nil
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
