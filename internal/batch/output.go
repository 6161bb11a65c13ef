package batch

import (
	"context"
	"io"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
)

// results returns what a job's shards have committed, in input order, if its
// results can be read.
func (s *Service) results(ctx context.Context, id string) (*Manifest, []*shardRecord, error) {
	if err := checkID(id); err != nil {
		return nil, nil, err
	}
	m, err := s.manifest(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if m == nil {
		job, err := s.Get(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		return nil, nil, modelmanager.Errorf(modelmanager.CodeConflict, "job %s is still %s: wait until it has finished", id, job.State)
	}
	records, err := s.files(ctx, id)
	return m, records, err
}

// deleted explains why a finished job's file is missing.
func deleted(id string, err error) error {
	if modelmanager.CodeOf(err) == modelmanager.CodeNotFound {
		return modelmanager.Errorf(modelmanager.CodeNotFound,
			"the data of job %s was deleted; only its manifest is kept", id)
	}
	return err
}

// Rejected writes the rejected rows of a finished job as JSON Lines: number,
// feature, reason, and the row itself.
func (s *Service) Rejected(ctx context.Context, id string, w io.Writer) error {
	_, records, err := s.results(ctx, id)
	if err != nil {
		return err
	}
	for _, r := range records {
		if err := s.send(ctx, id, r.Rejected.Key, w); err != nil {
			return err
		}
	}
	return nil
}

// Logs writes what a job's workers have written so far, attempt by attempt.
func (s *Service) Logs(ctx context.Context, id string, w io.Writer) error {
	if _, err := s.record(ctx, id); err != nil {
		return err
	}
	objects, err := s.config.Bucket.List(ctx, folder(id)+"logs/", "", 0)
	if err != nil {
		return err
	}
	for _, object := range objects {
		if object.Size == 0 {
			continue
		}
		if _, err := io.WriteString(w, "==> "+object.Key[len(folder(id)+"logs/"):]+"\n"); err != nil {
			return err
		}
		if err := s.send(ctx, id, object.Key, w); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) send(ctx context.Context, id, key string, w io.Writer) error {
	return s.sendFrom(ctx, id, key, 0, w)
}

func (s *Service) sendFrom(ctx context.Context, id, key string, offset int64, w io.Writer) error {
	r, err := s.config.Bucket.Read(ctx, key, offset, -1)
	if err != nil {
		return deleted(id, err)
	}
	defer r.Close()
	_, err = io.CopyBuffer(w, r, make([]byte, 256<<10))
	return err
}

// Output writes a finished job's results as one stream, in the order and, if
// nothing else was asked for, the format of the input. Of a failed job it has
// the parts that there are.
func (s *Service) Output(ctx context.Context, id string, w io.Writer) error {
	m, records, err := s.results(ctx, id)
	if err != nil {
		return err
	}
	if m.State == modelmanager.JobCancelled {
		return modelmanager.Errorf(modelmanager.CodeCancelled, "job %s was cancelled; it has no output", id)
	}
	if err := dataset.FitsFormat(m.Output.Format, m.outputRows()); err != nil {
		return err // before it is put together
	}
	switch m.Output.Format {
	case "csv", "jsonl":
		for i, r := range records {
			from := int64(0)
			if i > 0 {
				from = r.Header // each part has the header
			}
			if err := s.sendFrom(ctx, id, r.Part.Key, from, w); err != nil {
				return err
			}
		}
		return nil
	}
	return s.merge(ctx, m, records, w)
}
