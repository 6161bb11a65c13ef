package pipeline

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"modelmanager.dev"
	"modelmanager.dev/internal/repository"
)

// imageDestination is an imageServer with one model.
type imageDestination struct {
	*imageServer
	versions  []modelmanager.VersionInfo // newest first
	history   []modelmanager.Traffic
	published func() // is called before a publication is answered; may be nil
}

func (d *imageDestination) Publish(ctx context.Context, model string, request modelmanager.PublishRequest, key string) (modelmanager.PublishResult, error) {
	result, err := d.imageServer.Publish(ctx, model, request, key)
	if err != nil {
		return result, err
	}
	result.Source, result.Artifact = request.Source, modelmanager.Artifact{Image: request.Artifact.Image}
	d.versions = append([]modelmanager.VersionInfo{result.VersionInfo}, d.versions...)
	if d.published != nil {
		d.published()
	}
	return result, ctx.Err()
}

func (d *imageDestination) Versions(context.Context, string, int, string) (modelmanager.VersionList, error) {
	return modelmanager.VersionList{Versions: d.versions}, nil
}

func (d *imageDestination) TrafficHistory(context.Context, string) (modelmanager.TrafficHistory, error) {
	if len(d.versions) == 0 {
		return modelmanager.TrafficHistory{}, modelmanager.Errorf(modelmanager.CodeNotFound, "there is no such model")
	}
	return modelmanager.TrafficHistory{History: d.history}, nil
}

// Version is asked for what a new version would break: nothing.
func (d *imageDestination) Version(ctx context.Context, _ string, version int) (modelmanager.VersionInfo, error) {
	info := d.versions[len(d.versions)-version]
	info.Spec = d.requests[version-1].Spec
	return info, nil
}

func (d *imageDestination) Predict(context.Context, string, int, modelmanager.PredictRequest) (modelmanager.PredictResponse, error) {
	return modelmanager.PredictResponse{}, nil
}

func (d *imageDestination) RollOut(_ context.Context, _ string, version int, request modelmanager.RolloutRequest) (modelmanager.Traffic, error) {
	traffic := modelmanager.Traffic{Versions: []modelmanager.Share{{Version: version, Percent: 100}}, Commit: request.Commit, At: time.Now()}
	d.history = append([]modelmanager.Traffic{traffic}, d.history...)
	return traffic, nil
}

func (d *imageDestination) RetireFor(context.Context, string, string, string, time.Time) error {
	return nil
}

// TestAnotherCommitTagsWhatAKilledRunLeft: a run is killed between the version and
// its tag, and a newer commit's is done before it is run again.
func TestAnotherCommitTagsWhatAKilledRunLeft(t *testing.T) {
	d := &imageDestination{imageServer: newImageServer(t)}
	d.base(t, "python", map[string]string{"usr/bin/python3": "python"})
	g := newGitRepository(t)
	model := func(predict string) string {
		writeModel(t, g.dir+"/doubler", "", predict)
		return g.commit()
	}
	publish := func(ctx context.Context, from, to string) ([]Outcome, error) {
		t.Helper()
		opened, err := repository.Open(t.Context(), g.dir)
		if err != nil {
			t.Fatal(err)
		}
		span, err := ResolveSpan(t.Context(), opened, from, to)
		if err != nil {
			t.Fatal(err)
		}
		publisher := &Publisher{Server: d, Validator: validator(t), Images: d.images, Scratch: t.TempDir()}
		plan, err := publisher.Plan(t.Context(), span, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer plan.Close()
		return publisher.Execute(ctx, plan, nil)
	}
	tag := func(version string) string {
		t.Helper()
		index, err := remote.Index(must(name.ParseReference(d.host + "/models/doubler:" + version)))
		if err != nil {
			return ""
		}
		return must(index.IndexManifest()).Annotations["org.opencontainers.image.revision"]
	}
	nothing := strings.Repeat("0", 40)
	first := model(predictDouble)
	ctx, die := context.WithCancel(t.Context())
	defer die()
	d.published = die
	if _, err := publish(ctx, nothing, first); err == nil || len(d.versions) != 1 || tag("1") != "" {
		t.Fatalf("it didn't die between version and tag: %v, %d versions, tag %q", err, len(d.versions), tag("1"))
	}
	d.published = nil
	second := model(predictDouble + "\n")
	for range 2 { // the second time, there is nothing to do
		if outcomes, err := publish(t.Context(), first, second); err != nil || len(outcomes) != 1 || outcomes[0].Err != nil {
			t.Fatalf("%v: %+v", err, outcomes)
		}
		if tag("1") != first || tag("2") != second {
			t.Errorf("the tags are of %q and %q, not of %s and %s", tag("1"), tag("2"), first, second)
		}
	}
}
