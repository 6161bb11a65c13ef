package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
)

// claim is idempotency/publish-<hash>.json: what a publication with an
// Idempotency-Key led to. The batch service sweeps that folder after a week.
//
// A version's content already makes publishing it twice harmless, but for one
// thing: a request that is repeated late must not take the traffic back to a
// version that somebody has rolled back meanwhile.
type claim struct {
	Request string `json:"request"` // digest of what was asked
	Version int    `json:"version"`
}

func claimKey(ctx context.Context, model, key string) string {
	sum := sha256.Sum256([]byte(fmt.Sprintf("%q %q %q", caller(ctx), model, key)))
	return "idempotency/publish-" + hex.EncodeToString(sum[:]) + ".json"
}

// requestDigest tells whether two publications ask for the same. Uploads of
// the same archive are the same: a client that tries again uploads again.
func requestDigest(p registry.Publication, hold bool) (string, error) {
	canonical, err := p.Spec.Canonical()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s version %d hold %t", registry.Digest(canonical, p.Artifact.Digest), p.Number, hold), nil
}

// claimed returns the version that a publication with this key has led to; 0
// if there was none.
func (a *API) claimed(ctx context.Context, model, key, digest string) (int, error) {
	if key == "" || a.Bucket == nil {
		return 0, nil
	}
	data, err := a.Bucket.ReadAll(ctx, claimKey(ctx, model, key), maxBody)
	if modelmanager.CodeOf(err) == modelmanager.CodeNotFound {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var first claim
	if err := json.Unmarshal(data, &first); err != nil {
		return 0, fmt.Errorf("reading what became of an Idempotency-Key: %w", err)
	}
	if first.Request != digest {
		return 0, modelmanager.Errorf(modelmanager.CodeConflict,
			"publishing %s: the Idempotency-Key %q was used for another content, which became version %d; use a new key", model, key, first.Version)
	}
	return first.Version, nil
}

// keep writes down what a publication with a key led to.
func (a *API) keep(ctx context.Context, key, digest string, version modelmanager.Version) error {
	if key == "" || a.Bucket == nil {
		return nil
	}
	data, err := json.Marshal(claim{Request: digest, Version: version.Number})
	if err != nil {
		return err
	}
	err = a.Bucket.Create(ctx, claimKey(ctx, version.Model, key), data)
	if modelmanager.CodeOf(err) == modelmanager.CodeConflict {
		return nil // the same request, at the same time
	}
	return err
}
