package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"modelmanager.dev"
	"modelmanager.dev/internal/archive"
	"modelmanager.dev/internal/image"
)

// Target is where models are published: a server, through its API.
type Target interface {
	Upload(ctx context.Context, name string, data io.Reader) (modelmanager.Upload, error)
	Publish(ctx context.Context, model string, request modelmanager.PublishRequest, idempotencyKey string) (modelmanager.PublishResult, error)
}

// Publication says what goes along with a published folder.
type Publication struct {
	Source  modelmanager.Source
	Version int // 0: the next number
	Reason  string
	Hold    bool // leave the traffic as it is

	ApprovedBy string // "": nobody said so

	// Images makes the artifact an image, for a server that runs those; nil: it
	// is the archive of the folder.
	Images    *Images
	Committed string  // when the source's commit was made, RFC 3339; "" if unknown
	Options   Options // of what is told meanwhile
}

// Publish archives a prepared folder, or makes an image of it, and publishes
// it. It is idempotent: the same content again leads to the same version. An
// image is pushed by digest before its version is there, and gets the version's
// tag afterwards.
func Publish(ctx context.Context, p *Prepared, target Target, publication Publication) (modelmanager.PublishResult, error) {
	var none modelmanager.PublishResult
	artifact, err := publication.artifact(ctx, p, target)
	if err != nil {
		return none, err
	}
	canonical, err := p.Spec.Canonical()
	if err != nil {
		return none, err
	}
	publication.Source.Tree = p.Tree
	if artifact.Image == "" { // an image is never made again
		publication.Source.Lock = p.lock
	}
	result, err := target.Publish(ctx, p.Spec.Name, modelmanager.PublishRequest{
		Spec:     json.RawMessage(canonical),
		Artifact: artifact,
		Source:   publication.Source,
		Version:  publication.Version,
		Reason:   publication.Reason,
		Hold:     publication.Hold,

		ApprovedBy: publication.ApprovedBy,
	}, "")
	if err != nil || artifact.Image == "" {
		return result, err
	}
	if err := publication.Images.tag(ctx, artifact.Image, image.Provenance{
		Model: result.Model, Version: result.Version, Digest: result.Digest, Source: publication.Source, Created: publication.Committed,
	}); err != nil {
		return result, fmt.Errorf("version %d of %s is published, but its image has no tag; publish it again: %w", result.Version, result.Model, err)
	}
	return result, nil
}

// artifact brings what the version runs to where the server takes it from.
func (publication Publication) artifact(ctx context.Context, p *Prepared, target Target) (modelmanager.ArtifactRef, error) {
	if publication.Images != nil {
		reference, err := publication.Images.push(ctx, p, publication.Options)
		return modelmanager.ArtifactRef{Image: reference}, err
	}
	if p.Spec.NeedsImage() {
		return modelmanager.ArtifactRef{}, needsImage(p.Spec)
	}
	upload, err := uploadArchive(ctx, p, target)
	if err != nil {
		return modelmanager.ArtifactRef{}, fmt.Errorf("uploading %s: %w", p.Spec.Name, err)
	}
	return modelmanager.ArtifactRef{Upload: upload.ID}, nil
}

// uploadArchive streams the folder's archive, without a copy on disk.
func uploadArchive(ctx context.Context, p *Prepared, target Target) (modelmanager.Upload, error) {
	files, err := archive.List(p.Dir, nil)
	if err != nil {
		return modelmanager.Upload{}, err
	}
	reader, writer := io.Pipe()
	written := make(chan error, 1)
	go func() {
		_, err := archive.Write(writer, files)
		writer.CloseWithError(err)
		written <- err
	}()
	upload, err := target.Upload(ctx, p.Spec.Name+".tar.zst", reader)
	reader.CloseWithError(err)
	if archiveErr := <-written; archiveErr != nil && err == nil {
		err = archiveErr
	}
	return upload, err
}
