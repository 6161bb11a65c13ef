package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"modelmanager.dev"
	"modelmanager.dev/internal/archive"
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
}

// Publish archives a prepared folder and publishes it. It is idempotent: the
// same content again leads to the same version.
func Publish(ctx context.Context, p *Prepared, target Target, publication Publication) (modelmanager.PublishResult, error) {
	var none modelmanager.PublishResult
	canonical, err := p.Spec.Canonical()
	if err != nil {
		return none, err
	}
	upload, err := uploadArchive(ctx, p, target)
	if err != nil {
		return none, fmt.Errorf("uploading %s: %w", p.Spec.Name, err)
	}
	publication.Source.Tree = p.Tree
	return target.Publish(ctx, p.Spec.Name, modelmanager.PublishRequest{
		Spec:     json.RawMessage(canonical),
		Artifact: modelmanager.ArtifactRef{Upload: upload.ID},
		Source:   publication.Source,
		Version:  publication.Version,
		Reason:   publication.Reason,
		Hold:     publication.Hold,
	}, "")
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
