package api_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelmanager.dev"
)

func TestAServerThatRunsImages(t *testing.T) {
	w := newWorld(t)
	if info, err := w.client.Info(t.Context()); err != nil || info.Artifacts.Kind != modelmanager.ArtifactArchive || info.Version != "test" {
		t.Errorf("a server on one machine: %+v, %v", info, err)
	}
	w.api.Artifacts = modelmanager.Artifacts{
		Kind: modelmanager.ArtifactImage, Repository: "registry.example.org/models", Platform: "linux/arm64",
		Bases: map[string]string{"python": "registry.example.org/python:3.12"},
	}
	digest := "sha256:" + strings.Repeat("a", 64)
	w.api.Image = func(_ context.Context, model, reference string) (modelmanager.Artifact, error) {
		if reference != "registry.example.org/models/"+model+"@"+digest {
			return modelmanager.Artifact{}, modelmanager.Errorf(modelmanager.CodeForbidden, "%s is not allowed", reference)
		}
		return modelmanager.Artifact{Digest: digest, Image: reference, Size: 5}, nil
	}
	info, err := w.client.Info(t.Context())
	if diff := cmp.Diff(w.api.Artifacts, info.Artifacts); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}

	publish := func(artifact modelmanager.ArtifactRef) (modelmanager.PublishResult, error) {
		return w.client.Publish(t.Context(), "scorer", modelmanager.PublishRequest{Spec: source("scorer", nil), Artifact: artifact, Hold: true}, "")
	}
	result, err := publish(modelmanager.ArtifactRef{Image: "registry.example.org/models/scorer@" + digest})
	if err != nil || result.Artifact.Digest != digest || result.Artifact.Size != 5 || result.Artifact.Archive != "" {
		t.Errorf("%+v, %v", result.Artifact, err)
	}
	if _, err := publish(modelmanager.ArtifactRef{Image: "elsewhere.example.org/scorer@" + digest}); modelmanager.CodeOf(err) != modelmanager.CodeForbidden {
		t.Errorf("an image from elsewhere: %v", err)
	}
	upload, err := w.client.Upload(t.Context(), "scorer.tar.zst", strings.NewReader("archive"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := publish(modelmanager.ArtifactRef{Upload: upload.ID}); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
		t.Errorf("an archive: %v", err)
	}
}
