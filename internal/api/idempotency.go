package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/spec"
)

// claim is idempotency/publish-<hash>.json: what a publication with an
// Idempotency-Key asks for, written before anything else is, and what it led to
// once all is done. The batch service sweeps that folder after a week.
//
// A version's content already makes publishing it twice harmless, but for one
// thing: a request that is repeated late must not take the traffic back to a
// version that somebody has rolled back meanwhile.
type claim struct {
	Request string    `json:"request"`           // digest of what was asked
	Seen    time.Time `json:"seen,omitzero"`     // when the setting of traffic was made that was in force
	Version int       `json:"version,omitempty"` // that all was done for; 0: not yet, as far as is known
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

// claim claims a key for a publication. It returns what was claimed with the
// key before, nil if nothing was; another content is a CodeConflict.
func (a *API) claim(ctx context.Context, model, key, digest string) (before *claim, err error) {
	if key == "" || a.Bucket == nil {
		return nil, nil
	}
	seen, err := a.settingInForce(ctx, model)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(claim{Request: digest, Seen: seen})
	if err != nil {
		return nil, err
	}
	err = a.Bucket.Create(ctx, claimKey(ctx, model, key), data)
	if modelmanager.CodeOf(err) != modelmanager.CodeConflict {
		return nil, err
	}
	if data, err = a.Bucket.ReadAll(ctx, claimKey(ctx, model, key), maxBody); err != nil {
		return nil, err
	}
	before = new(claim)
	if err := json.Unmarshal(data, before); err != nil {
		return nil, fmt.Errorf("reading what became of an Idempotency-Key: %w", err)
	}
	if before.Request != digest {
		became := "which has not become a version yet"
		if before.Version != 0 {
			became = fmt.Sprintf("which became version %d", before.Version)
		}
		return nil, modelmanager.Errorf(modelmanager.CodeConflict,
			"publishing %s: the Idempotency-Key %q was used for another content, %s; use a new key", model, key, became)
	}
	return before, nil
}

// settingInForce says when a model's setting of traffic was made; the zero time
// if it has none.
func (a *API) settingInForce(ctx context.Context, name string) (time.Time, error) {
	model, err := a.Registry.Get(ctx, name)
	switch modelmanager.CodeOf(err) {
	case modelmanager.CodeNotFound, modelmanager.CodeRetired:
		return time.Time{}, nil
	}
	return model.Traffic().At, err
}

// complete notes that all was done of a publication with a key.
func (a *API) complete(ctx context.Context, key, digest string, version modelmanager.Version) error {
	if key == "" || a.Bucket == nil {
		return nil
	}
	data, err := json.Marshal(claim{Request: digest, Version: version.Number})
	if err != nil {
		return err
	}
	return a.Bucket.WriteAll(ctx, claimKey(ctx, version.Model, key), data)
}

// rollOutAfter rolls out a version for a publication that was begun before,
// unless it has been: whoever has moved the traffic since wants it so.
func (a *API) rollOutAfter(ctx context.Context, s *spec.Spec, version modelmanager.Version, request modelmanager.RolloutRequest, before *claim) error {
	for again := 0; ; again++ {
		model, err := a.Registry.Get(ctx, version.Model)
		if err != nil {
			return err
		}
		if rolledOutSince(model.History, before.Seen, version.Number, s.Rollout.Strategy) {
			return nil
		}
		now := model.Traffic().At
		request.Seen = &now
		err = a.rollOut(ctx, s, version, request)
		if modelmanager.CodeOf(err) != modelmanager.CodeConflict || again == rollOutAgain {
			return err
		}
	}
}

// rolledOutSince tells whether a version has been rolled out since a setting was
// in force: it takes part in a later one, or had all that a rollout gives it.
func rolledOutSince(history []modelmanager.Traffic, seen time.Time, version int, strategy string) bool {
	for _, setting := range history { // newest first
		if !setting.At.After(seen) {
			return goesOn(setting, version, strategy)
		}
		if slices.ContainsFunc(setting.Versions, func(share modelmanager.Share) bool { return share.Version == version }) {
			return true
		}
	}
	return false
}
