package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/spec"
)

type publishInput struct {
	ModelPath
	Key  string `header:"Idempotency-Key" maxLength:"200" doc:"The same key twice, within a week, is one publication"`
	Body modelmanager.PublishRequest
}

// publishOutput is a version: 201 if it is new, 200 if it was there before.
type publishOutput struct {
	Status   int
	Location string `header:"Location"`
	Body     modelmanager.PublishResult
}

func (a *API) publishVersion(ctx context.Context, in *publishInput) (*publishOutput, error) {
	result, err := a.Publish(ctx, in.Model, in.Body, in.Key)
	if err != nil {
		return nil, a.failed(ctx, err)
	}
	status := http.StatusOK
	if result.New {
		status = http.StatusCreated
	}
	return &publishOutput{
		Status: status, Body: result,
		Location: fmt.Sprintf("/v1/models/%s/versions/%d", result.Model, result.Version),
	}, nil
}

// Publish keeps a version and rolls it out as its spec asks for. It is
// idempotent by content: the same spec and artifact are the same version. With
// a key, repeating it changes nothing, whatever has happened since.
func (a *API) Publish(ctx context.Context, name string, request modelmanager.PublishRequest, key string) (modelmanager.PublishResult, error) {
	var none modelmanager.PublishResult
	p, err := a.publication(ctx, name, request)
	if err != nil {
		return none, err
	}
	digest, err := requestDigest(p, request.Hold)
	if err != nil {
		return none, err
	}
	before, err := a.claim(ctx, name, key, digest)
	if err != nil {
		return none, err
	}
	if before != nil && before.Version != 0 {
		return a.published(ctx, name, before.Version, false)
	}
	version, created, err := a.Registry.Publish(ctx, p)
	if err != nil {
		return none, err
	}
	if !request.Hold {
		rollout := modelmanager.RolloutRequest{Reason: request.Reason}
		if before == nil {
			err = a.rollOut(ctx, p.Spec, version, rollout)
		} else {
			err = a.rollOutAfter(ctx, p.Spec, version, rollout, before)
		}
		if err != nil {
			return none, fmt.Errorf("version %d of %s is published, but doesn't take traffic: %w", version.Number, name, err)
		}
	}
	if err := a.complete(ctx, key, digest, version); err != nil {
		return none, err
	}
	return a.published(ctx, name, version.Number, created)
}

// publication checks what somebody wants to publish; it trusts nobody.
func (a *API) publication(ctx context.Context, name string, request modelmanager.PublishRequest) (registry.Publication, error) {
	var none registry.Publication
	var compact bytes.Buffer
	if err := json.Compact(&compact, request.Spec); err == nil && compact.Len() > registry.MaxSpec {
		return none, modelmanager.Errorf(modelmanager.CodeTooLarge,
			"publishing %s: its spec has %d KiB, at most %d KiB can be published; move long lists into files of the model's folder",
			name, (compact.Len()+1023)>>10, registry.MaxSpec>>10)
	}
	s, err := spec.Receive(request.Spec)
	if err != nil {
		return none, fmt.Errorf("publishing %s: %w", name, err)
	}
	if s.Name != name {
		return none, modelmanager.Errorf(modelmanager.CodeBadRequest,
			"publishing %s: the spec is of %q; publish it under its own name", name, s.Name)
	}
	artifact, err := a.artifact(ctx, name, request.Artifact)
	if err != nil {
		return none, err
	}
	if artifact.Image != "" {
		request.Source.Lock = "" // the image has it, and is never made again
	}
	return registry.Publication{
		Spec: s, Artifact: artifact, Source: request.Source, Number: request.Version,
		By: caller(ctx), ApprovedBy: request.ApprovedBy, Reason: request.Reason,
	}, nil
}

func (a *API) artifact(ctx context.Context, name string, ref modelmanager.ArtifactRef) (modelmanager.Artifact, error) {
	switch {
	case ref.Upload != "" && ref.Image != "":
		return modelmanager.Artifact{}, modelmanager.Errorf(modelmanager.CodeBadRequest, "publishing %s: give an upload or an image, not both", name)
	case ref.Upload != "" && a.Artifacts.Kind == modelmanager.ArtifactImage:
		return modelmanager.Artifact{}, modelmanager.Errorf(modelmanager.CodeBadRequest,
			"publishing %s: this server runs images, and can't run the archive of a folder; publish with mm publish of the server's version, %s", name, a.Version)
	case ref.Upload != "":
		return a.Adopt(ctx, ref.Upload)
	case ref.Image != "" && a.Image != nil:
		return a.Image(ctx, name, ref.Image)
	case ref.Image != "":
		return imageArtifact(ref.Image)
	}
	return modelmanager.Artifact{}, modelmanager.Errorf(modelmanager.CodeBadRequest, "publishing %s: there is no artifact; give an upload or an image", name)
}

// published describes a version that was just published, or was before.
func (a *API) published(ctx context.Context, name string, number int, created bool) (modelmanager.PublishResult, error) {
	model, err := a.Registry.Get(ctx, name)
	if err != nil {
		return modelmanager.PublishResult{}, err
	}
	version, err := a.Registry.Version(ctx, name, number)
	if err != nil {
		return modelmanager.PublishResult{}, err
	}
	return modelmanager.PublishResult{VersionInfo: a.versionInfo(model, version), New: created}, nil
}
