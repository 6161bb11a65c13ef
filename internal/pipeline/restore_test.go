package pipeline

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/repository"
)

// emptied is a server that has lost everything.
type emptied struct {
	imageServer
	versions map[string]modelmanager.VersionInfo
	moved    int // how often traffic was set
}

func (s *emptied) Publish(_ context.Context, model string, request modelmanager.PublishRequest, _ string) (modelmanager.PublishResult, error) {
	_, digest, _ := strings.Cut(request.Artifact.Image, "@")
	info := modelmanager.VersionInfo{
		Model: model, Version: request.Version, Digest: registry.Digest(string(request.Spec), digest), Spec: request.Spec,
		Artifact: modelmanager.Artifact{Image: request.Artifact.Image, Digest: digest}, Source: request.Source,
	}
	if !request.Hold || request.Version == 0 {
		return modelmanager.PublishResult{}, fmt.Errorf("version %d was published with hold: %t", request.Version, request.Hold)
	}
	s.versions[fmt.Sprint(model, " ", request.Version)] = info
	return modelmanager.PublishResult{VersionInfo: info, New: true}, nil
}

func (s *emptied) Version(_ context.Context, model string, version int) (modelmanager.VersionInfo, error) {
	info, found := s.versions[fmt.Sprint(model, " ", version)]
	if !found {
		return info, modelmanager.Errorf(modelmanager.CodeNotFound, "there is none")
	}
	return info, nil
}

func (s *emptied) Traffic(context.Context, string) (modelmanager.TrafficInfo, error) {
	return modelmanager.TrafficInfo{}, nil
}

func (s *emptied) SetTraffic(context.Context, string, modelmanager.Traffic) (modelmanager.TrafficInfo, error) {
	s.moved++
	return modelmanager.TrafficInfo{}, nil
}

func (s *emptied) RollOut(context.Context, string, int, modelmanager.RolloutRequest) (modelmanager.Traffic, error) {
	s.moved++
	return modelmanager.Traffic{}, nil
}

func (s *emptied) RetireFor(context.Context, string, string, string, time.Time) error {
	s.moved++
	return nil
}

// TestRestoreOfImages loses a server whose versions are images, and restores it of
// git and the registry of images.
func TestRestoreOfImages(t *testing.T) {
	s := newImageServer(t)
	s.base(t, "python", map[string]string{"usr/bin/python3": "python"})
	own := s.base(t, "scorer", map[string]string{"score": "program"})
	top := t.TempDir()
	doubler, scorer := filepath.Join(top, "models", "doubler"), filepath.Join(top, "models", "scorer")
	want := map[string]modelmanager.VersionInfo{}
	publish := func(dir, model string, version int) {
		t.Helper()
		commit(t, top)
		s.requests = s.requests[:0] // versions are counted by the model
		for len(s.requests) < version-1 {
			s.requests = append(s.requests, modelmanager.PublishRequest{})
		}
		request, err := s.publish(t, dir)
		if err != nil {
			t.Fatal(err)
		}
		_, digest, _ := strings.Cut(request.Artifact.Image, "@")
		want[fmt.Sprint(model, " ", version)] = modelmanager.VersionInfo{
			Model: model, Version: version, Digest: registry.Digest(string(request.Spec), digest), Spec: request.Spec,
			Artifact: modelmanager.Artifact{Image: request.Artifact.Image, Digest: digest}, Source: request.Source,
		}
	}
	for version, more := range []string{"", "params: {threshold: 0.4}", "params: {threshold: 0.5}"} {
		writeModel(t, doubler, more, predictDouble)
		publish(doubler, "doubler", version+1)
	}
	write(t, filepath.Join(scorer, "model.yaml"), `name: scorer
summary: Scores.
owner: tests@example.org
features: [{name: x, type: number}]
predictions: [{name: y, type: number}]
run: {http: {path: /invocations}}
build: {image: "`+own+`"}
examples: [{features: {x: 2}}]
`)
	publish(scorer, "scorer", 1)

	repo, err := repository.Open(t.Context(), top)
	if err != nil {
		t.Fatal(err)
	}
	lost := &emptied{versions: map[string]modelmanager.VersionInfo{}}
	var results []Restored
	restore := func() error {
		results = nil
		r := &ImageRestorer{Server: lost, Images: s.images, Repository: repo, Revision: "HEAD", Scratch: t.TempDir()}
		return r.Restore(t.Context(), func(restored Restored) { results = append(results, restored) })
	}
	authored := func(all map[string]modelmanager.VersionInfo) map[string]modelmanager.VersionInfo {
		for key, info := range all {
			info.Source.Author = "Tester"
			all[key] = info
		}
		return all
	}
	for range 2 { // again: nothing changes
		if err := restore(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(authored(want), lost.versions); diff != "" {
			t.Errorf("the versions (-want +got):\n%s", diff)
		}
	}
	if lost.moved > 0 {
		t.Error("something went live")
	}

	// A lost tag is named, and the versions after it keep their numbers.
	if err := remote.Delete(must(name.NewTag(s.host + "/models/doubler:2"))); err != nil {
		t.Fatal(err)
	}
	lost.versions = map[string]modelmanager.VersionInfo{}
	err = restore()
	if err == nil || !strings.Contains(err.Error(), "version 2 of doubler") || results[0].Versions != 2 || results[0].Problem == "" || results[1].Err != nil {
		t.Errorf("without its second tag: %v, %+v", err, results)
	}
	delete(want, "doubler 2")
	if diff := cmp.Diff(authored(want), lost.versions); diff != "" {
		t.Errorf("the versions without the second (-want +got):\n%s", diff)
	}
	// A number that another content has is not overwritten.
	other := lost.versions["doubler 3"]
	other.Digest = "sha256:other"
	lost.versions["doubler 3"] = other
	if err := restore(); err == nil || !strings.Contains(err.Error(), "version 3 of doubler") {
		t.Errorf("into a server with another version 3: %v", err)
	}
}
