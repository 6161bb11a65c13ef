package server

import (
	"context"
	"fmt"
	"sync"

	"modelmanager.dev"
	"modelmanager.dev/internal/archive"
)

// maxCard bounds a card, in bytes; a longer one isn't shown.
const maxCard = 256 << 10

// maxCards bounds how many cards are remembered; the map starts anew when it
// is full.
const maxCards = 200

// cards reads versions' cards out of their artifacts. An artifact never
// changes, so a card that was read once is remembered.
type cards struct {
	artifacts *artifacts
	// image reads a file of a model's folder out of an image; nil: there are none.
	image func(ctx context.Context, reference, path string, limit int64) ([]byte, error)

	mu    sync.Mutex
	known map[string][]byte // by digest of the artifact and path
}

func (c *cards) read(ctx context.Context, version modelmanager.Version, path string) ([]byte, error) {
	key := version.Artifact.Digest + " " + path
	c.mu.Lock()
	card, found := c.known[key]
	c.mu.Unlock()
	if found {
		return card, nil
	}
	card, err := c.find(ctx, version.Artifact, path)
	if err != nil {
		return nil, fmt.Errorf("reading the card of %s version %d: %w", version.Model, version.Number, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= maxCards {
		c.known = map[string][]byte{}
	}
	c.known[key] = card
	return card, nil
}

func (c *cards) find(ctx context.Context, artifact modelmanager.Artifact, path string) ([]byte, error) {
	if artifact.Image != "" {
		if c.image == nil {
			return nil, modelmanager.Errorf(modelmanager.CodeNotFound, "this server reads no files out of images")
		}
		return c.image(ctx, artifact.Image, path, maxCard)
	}
	source, err := c.artifacts.open(ctx, artifact)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	return archive.ReadFile(ctx, source, path, maxCard)
}
