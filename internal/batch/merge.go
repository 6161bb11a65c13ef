package batch

import (
	"context"
	"io"

	"modelmanager.dev"
)

// merge makes one file of parts that can't just be put one after the other.
func (s *Service) merge(ctx context.Context, m *Manifest, records []*shardRecord, w io.Writer) error {
	if len(records) == 1 {
		return s.send(ctx, m.ID, records[0].Part.Key, w)
	}
	return modelmanager.Errorf(modelmanager.CodeInternal, "joining %s parts", m.Output.Format)
}
