package batch

import (
	"context"
	"encoding/hex"
	"net/http"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/shard"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/storage"
)

// What agents exchange with the store itself, without the server between.
//
// Inputs are read there. Files of an attempt are written there: they have
// names of their own, count only by the commit, which the server does, and are
// signed for when they are complete, with their size and hash, so that the
// store takes nothing else. What a store can't express is kept otherwise: that
// nothing is written for a job that has ended (Grant.Unless) is asked when the
// URL is signed, and what is written with it later is removed by tidy.

// directGoodFor is how long a PUT may begin that was signed for.
const directGoodFor = 5 * time.Minute

// direct makes a URL of the store's own to read a source; nil if there is none.
func (s *Service) direct(ctx context.Context, src source) (*shard.Direct, error) {
	if s.config.ThroughServer || src.ETag != "" && src.Size == 0 {
		return nil, nil // of an object without bytes stores say different things
	}
	bucket, key, err := s.object(src)
	if err != nil {
		return nil, err
	}
	signed, ok, err := bucket.SignedURL(ctx, storage.SignRequest{Method: http.MethodGet, Key: key, For: urlsGoodFor, ETag: src.ETag})
	if err != nil || !ok {
		return nil, err
	}
	return &shard.Direct{URL: signed.URL, Headers: signed.Headers, Pinned: signed.Pinned && src.ETag != ""}, nil
}

// stores tells whether agents can write to the store itself.
func (s *Service) stores(ctx context.Context) (bool, error) {
	if s.config.ThroughServer {
		return false, nil
	}
	_, ok, err := s.config.Bucket.SignedURL(ctx, storage.SignRequest{Method: http.MethodGet, Key: "x", For: directGoodFor})
	return ok, err
}

// store signs for a file of an attempt.
func (s *Service) store(ctx context.Context, c *call) (any, error) {
	var body shard.Parcel
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if err := body.Check(); err != nil {
		return nil, err
	}
	t, err := s.openCall(ctx, c)
	if err != nil {
		return nil, err
	}
	if c.step != platform.StepShards {
		return nil, modelmanager.Errorf(modelmanager.CodeForbidden, "only the shards step stores files")
	}
	key := ""
	switch body.What {
	case "part":
		key = partKey(c.job, c.index, c.attempt, outputExtension(t.record, t.planned()))
	case "rejected":
		key = rejectedKey(c.job, c.index, c.attempt)
	case "logs":
		key = logsKey(c.job, c.index, c.attempt)
	default:
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "an attempt has no %q to store", body.What)
	}
	if body.What == "logs" && body.Size > maxLogs {
		return nil, modelmanager.Errorf(modelmanager.CodeTooLarge, "an attempt's logs may have %d bytes", maxLogs)
	}
	if s.config.ThroughServer {
		return shard.Direct{}, nil
	}
	request := storage.SignRequest{Method: http.MethodPut, Key: key, For: directGoodFor, Size: body.Size}
	if request.SHA256, err = hex.DecodeString(body.SHA256); err != nil {
		return nil, err
	}
	if request.MD5, err = hex.DecodeString(body.MD5); err != nil {
		return nil, err
	}
	signed, ok, err := s.config.Bucket.SignedURL(ctx, request)
	if err != nil || !ok {
		return shard.Direct{}, err
	}
	return shard.Direct{URL: signed.URL, Headers: signed.Headers}, nil
}

const (
	tidyPrefix = "tidy/"
	tidyAll    = "all" // of a job whose data was deleted
	// tidyAfter is when the last write has ended that a URL was signed for.
	tidyAfter = time.Hour
)

func tidyKey(id string) string { return tidyPrefix + id }

// tidyLater has a finished job looked at again: an attempt that doesn't know
// that the job has ended may still be writing.
func (s *Service) tidyLater(ctx context.Context, id string) error {
	err := s.config.Bucket.Create(ctx, tidyKey(id), nil)
	if modelmanager.CodeOf(err) == modelmanager.CodeConflict {
		return nil
	}
	return err
}

// tidy removes what attempts have written after their jobs' ends.
func (s *Service) tidy(ctx context.Context) error {
	after := ""
	for {
		objects, err := s.config.Bucket.List(ctx, tidyPrefix, after, 500)
		if err != nil || len(objects) == 0 {
			return err
		}
		for _, object := range objects {
			after = object.Key
			if s.now().Sub(object.Modified) < tidyAfter {
				continue
			}
			if err := s.tidyJob(ctx, object.Key[len(tidyPrefix):]); err != nil {
				return err
			}
		}
	}
}

func (s *Service) tidyJob(ctx context.Context, id string) error {
	if checkID(id) != nil {
		return nil // not ours
	}
	m, err := s.manifest(ctx, id)
	if err != nil {
		return err
	}
	if m != nil {
		what, err := s.config.Bucket.ReadAll(ctx, tidyKey(id), 1<<10)
		if err != nil {
			return err
		}
		clean := s.clean
		if string(what) == tidyAll {
			clean = func(ctx context.Context, m *Manifest) error { return s.deleteData(ctx, m.Job) }
		}
		if err := clean(ctx, m); err != nil {
			return err
		}
	}
	return s.config.Bucket.Delete(ctx, tidyKey(id))
}
