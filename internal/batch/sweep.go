package batch

import (
	"context"
	"errors"
	"strings"
	"time"

	"modelmanager.dev/internal/storage"
)

const (
	sweepInterval = time.Hour
	// An Idempotency-Key is remembered for a week.
	keysKeptFor = 7 * 24 * time.Hour
)

// sweep removes what has been kept long enough.
func (s *Service) sweep(ctx context.Context) {
	_, err := s.config.Uploads.Sweep(ctx, s.now().Add(-storage.UploadsKeptFor))
	err = errors.Join(err, s.sweepKeys(ctx), s.tidy(ctx))
	if s.config.Retention > 0 {
		err = errors.Join(err, s.expire(ctx))
	}
	if err != nil && ctx.Err() == nil {
		s.log.Error("removing what is too old failed", "error", err)
	}
}

func (s *Service) sweepKeys(ctx context.Context) error {
	objects, err := s.config.Bucket.List(ctx, idempotencyPrefix, "", 0)
	if err != nil {
		return err
	}
	for _, object := range objects {
		if s.now().Sub(object.Modified) > keysKeptFor {
			if err := s.config.Bucket.Delete(ctx, object.Key); err != nil {
				return err
			}
		}
	}
	return nil
}

// expire deletes the payloads of jobs that finished longer ago than the
// retention, never their manifests. Ids sort newest first, so the list is
// read from the retention's instant on; it ends at what was expired before.
func (s *Service) expire(ctx context.Context) error {
	limit := s.now().Add(-s.config.Retention)
	after := historyPrefix + newID(limit)
	for {
		objects, err := s.config.Bucket.List(ctx, historyPrefix, after, 500)
		if err != nil || len(objects) == 0 {
			s.expired = limit
			return err
		}
		for _, object := range objects {
			after = object.Key
			if !object.Modified.Before(limit) || object.Modified.Before(s.expired) {
				continue // finished too late, or swept by us before
			}
			id, _, _ := parseKey(strings.TrimPrefix(object.Key, historyPrefix))
			m, err := s.manifest(ctx, id)
			if err != nil {
				return err
			}
			if m == nil {
				continue
			}
			if err := s.deleteData(ctx, m.Job); err != nil {
				return err
			}
		}
	}
}
