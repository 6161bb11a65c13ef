package batch

import (
	"context"
	"io"

	"modelmanager.dev/internal/dataset"
)

// merge makes one file of parts that can't just be put one after the other.
func (s *Service) merge(ctx context.Context, m *Manifest, records []*shardRecord, w io.Writer) error {
	if len(records) == 1 {
		return s.send(ctx, m.ID, records[0].Part.Key, w)
	}
	parts := func(yield func(dataset.Source, error) bool) {
		for _, r := range records {
			if _, err := s.config.Bucket.Stat(ctx, r.Part.Key); err != nil {
				yield(nil, deleted(m.ID, err))
				return
			}
			part := dataset.NewRangeSource(r.Part.Size, func(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
				return s.config.Bucket.Read(ctx, r.Part.Key, offset, length)
			})
			if !yield(part, nil) {
				return
			}
		}
	}
	return dataset.Concatenate(ctx, w, m.Output.Format, parts)
}
