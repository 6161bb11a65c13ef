package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/fsutil"

	"modelmanager.dev/internal/image"
)

// ours puts an image together, as mm publish does: the base is looked up, the
// folder made layers, what the registry lacks pushed.
type ours struct {
	host, base, dir, cache string
}

func (o *ours) image(ctx context.Context) (string, error) {
	registry := image.NewRegistry(image.Options{})
	base, err := registry.Base(ctx, o.base, "")
	if err != nil {
		return "", err
	}
	layers, err := (&image.Cache{Dir: o.cache}).FolderLayers(o.dir)
	if err != nil {
		return "", err
	}
	img, err := image.Assemble(base, layers, image.ModelConfig("model", false))
	if err != nil {
		return "", err
	}
	return registry.Push(ctx, img, o.host+"/ours/model", nil)
}

// peer has BuildKit do it, with nothing that slows it down: the folder is sent
// as it is, so that what hasn't changed isn't sent, and times aren't rewritten.
type peer struct {
	address, repository, dir string
}

func (p *peer) image(ctx context.Context) (string, error) {
	c, err := client.New(ctx, p.address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	folder, err := fsutil.NewFS(p.dir)
	if err != nil {
		return "", err
	}
	result, err := c.Solve(ctx, nil, client.SolveOpt{
		Exports: []client.ExportEntry{{Type: client.ExporterImage, Attrs: map[string]string{
			"name": p.repository, "push": "true", "push-by-digest": "true", "oci-mediatypes": "true", "compression": "zstd", "registry.insecure": "true",
		}}},
		LocalMounts: map[string]fsutil.FS{"context": folder, "dockerfile": folder},
		SharedKey:   p.dir,
		Frontend:    "dockerfile.v0",
	}, nil)
	if err != nil {
		return "", err
	}
	digest := result.ExporterResponse["containerimage.digest"]
	if digest == "" {
		return "", errors.New("BuildKit pushed nothing")
	}
	return fmt.Sprintf("%s@%s", p.repository, digest), nil
}
