package server

import (
	"context"
	"io"

	"modelmanager.dev"
)

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
