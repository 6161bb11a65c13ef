package server

import (
	"context"
	"encoding/json"
	"io"
	"strconv"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/registry"
)

// follower keeps the server's models equal to what it follows. published is
// called when all there is has been dealt with.
type follower interface {
	Run(ctx context.Context, published func(problems map[string]error)) error
}

// OpenArtifact reads a version's archive.
type OpenArtifact func(ctx context.Context, artifact modelmanager.Artifact) (io.ReadCloser, error)

// maxArchive bounds the archive of one model's folder, in bytes.
const maxArchive = 64 << 30

// target lets the server's own pipeline publish to it, as clients do.
type target struct{ *Server }

// Upload implements pipeline.Target.
func (t target) Upload(ctx context.Context, _ string, data io.Reader) (modelmanager.Upload, error) {
	return t.uploads.Put(ctx, data, maxArchive)
}

// Publish implements pipeline.Target.
func (t target) Publish(ctx context.Context, model string, request modelmanager.PublishRequest, idempotencyKey string) (modelmanager.PublishResult, error) {
	return t.api.Publish(ctx, model, request, idempotencyKey)
}

// Versions implements pipeline.Destination. What is told of a version is what
// says where it comes from.
func (t target) Versions(ctx context.Context, model string, limit int, pageToken string) (modelmanager.VersionList, error) {
	before, _ := strconv.Atoi(pageToken)
	versions, err := t.registry.Versions(ctx, model, before, limit)
	if err != nil {
		return modelmanager.VersionList{}, err
	}
	var list modelmanager.VersionList
	for _, v := range versions {
		list.Versions = append(list.Versions, modelmanager.VersionInfo{
			Model: v.Model, Version: v.Number, Digest: v.Digest, Artifact: v.Artifact, Source: v.Source, Created: v.Created, By: v.By,
		})
	}
	if len(versions) == limit {
		list.NextPageToken = strconv.Itoa(versions[limit-1].Number)
	}
	return list, nil
}

// Version implements pipeline.Destination. It tells what a version is.
func (t target) Version(ctx context.Context, model string, version int) (modelmanager.VersionInfo, error) {
	v, err := t.registry.Version(ctx, model, version)
	if err != nil {
		return modelmanager.VersionInfo{}, err
	}
	return modelmanager.VersionInfo{
		Model: v.Model, Version: v.Number, Digest: v.Digest, Spec: json.RawMessage(v.Spec), Artifact: v.Artifact, Source: v.Source, Created: v.Created, By: v.By,
		Health: t.platform.Health(platform.Ref{Model: model, Version: version}),
	}, nil
}

// Predict implements pipeline.Destination.
func (t target) Predict(ctx context.Context, model string, version int, request modelmanager.PredictRequest) (modelmanager.PredictResponse, error) {
	predictions, err := t.api.Predict(ctx, model, version, request)
	return modelmanager.PredictResponse{Model: model, Version: version, Predictions: predictions}, err
}

// TrafficHistory implements pipeline.Destination.
func (t target) TrafficHistory(ctx context.Context, model string) (modelmanager.TrafficHistory, error) {
	record, err := t.registry.Get(ctx, model)
	if err != nil && modelmanager.CodeOf(err) != modelmanager.CodeRetired {
		return modelmanager.TrafficHistory{}, err
	}
	return modelmanager.TrafficHistory{History: record.History}, nil
}

// RollOut implements pipeline.Destination.
func (t target) RollOut(ctx context.Context, model string, version int, request modelmanager.RolloutRequest) (modelmanager.Traffic, error) {
	return t.api.RollOut(ctx, model, version, request)
}

// RetireFor implements pipeline.Destination.
func (t target) RetireFor(ctx context.Context, model, reason, commit string, seen time.Time) error {
	change := modelmanager.Change{At: time.Now().UTC(), Reason: reason}
	_, err := t.registry.Retire(ctx, model, change, registry.ByCommit{Commit: commit, Seen: &seen})
	return err
}

// progress logs what is done for a model of the repository that is followed.
func (s *Server) progress(model, text string) { s.Logger.Debug(text, "model", model) }

// published tells whether one of a model's versions was made of this tree.
func (s *Server) published(ctx context.Context, model, tree string) (bool, error) {
	for before := 0; ; {
		versions, err := s.registry.Versions(ctx, model, before, 100)
		if err != nil {
			if modelmanager.CodeOf(err) == modelmanager.CodeNotFound {
				return false, nil
			}
			return false, err
		}
		for _, version := range versions {
			if version.Source.Tree == tree {
				return true, nil
			}
		}
		if len(versions) < 100 {
			return false, nil
		}
		before = versions[len(versions)-1].Number
	}
}
