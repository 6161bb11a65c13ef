package batch

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/platform"
)

// finish ends a job: nothing of it runs any more, its results are where they
// belong, and only then its manifest is written.
func (d *drive) finish(ctx context.Context, end *end) error {
	for _, step := range []platform.Step{platform.StepPlan, platform.StepShards} {
		if err := d.config.Platform.StopJob(ctx, d.id, step); err != nil {
			return err
		}
	}
	d.keepLogs(ctx)
	// What was committed until the last moment counts.
	if err := d.refresh(ctx, d.t); err != nil {
		return err
	}
	if err := d.dropUnproven(ctx); err != nil {
		return err
	}
	if end.state == modelmanager.JobSucceeded {
		if err := d.verify(ctx); err != nil {
			if !permanent(err) {
				return err
			}
			end = failed(err)
		}
	}
	m := d.manifest(end)
	if end.state == modelmanager.JobSucceeded && m.Output.URI != "" {
		if err := d.deliver(ctx, m); err != nil {
			if !permanent(err) {
				return err
			}
			m.Job.State, m.Job.Code, m.Job.Reason = modelmanager.JobFailed, modelmanager.CodeOf(err), err.Error()
		}
	}
	err := d.create(ctx, manifestKey(d.id), m)
	if err != nil && modelmanager.CodeOf(err) != modelmanager.CodeConflict {
		return err
	}
	written, err := d.Service.manifest(ctx, d.id)
	if err != nil || written == nil {
		return err
	}
	return d.close(ctx, written)
}

// dropUnproven takes back what was committed of shards in which the model has
// answered no row, if it has answered none of any other either: then it is at
// fault, and no row is called rejected for it.
func (d *drive) dropUnproven(ctx context.Context) error {
	for _, index := range d.t.unproven() {
		if err := d.config.Bucket.Delete(ctx, shardKey(d.id, index)); err != nil {
			return err
		}
		d.t.takeBack(index)
	}
	return nil
}

// verify checks what a job that seems to have succeeded promises.
func (d *drive) verify(ctx context.Context) error {
	if err := d.unchanged(ctx, d.t.record.Source); err != nil {
		return err
	}
	rows := d.t.total(false).rows
	if total, known := d.t.planned().rows(); known && rows.Read != total {
		return &modelmanager.Error{Code: modelmanager.CodeInvalidInput,
			Detail: fmt.Sprintf("the shards read %d rows, but %d were planned", rows.Read, total)}
	}
	return nil
}

// manifest describes the finished job.
func (d *drive) manifest(end *end) *Manifest {
	now := d.now().UTC()
	job := d.t.job(now)
	total := d.t.total(false)
	job.State, job.Code, job.Reason, job.Finished = end.state, end.code, end.reason, &now
	job.Rows, job.CPUSeconds = total.rows, total.cpu
	version := d.workload.Version
	m := &Manifest{
		Job: job, Digest: d.t.record.Digest, Artifact: version.Artifact.Digest, Commit: version.Source.Commit,
		InputSize: d.t.record.Source.Size, InputETag: d.t.record.Source.ETag, InputSHA256: d.t.record.Source.SHA256,
	}
	p := d.t.planned()
	if p == nil {
		return m
	}
	if p.SHA256 != "" {
		m.InputSHA256 = p.SHA256
	}
	m.Job.Output.Format = outputFormat(d.t.record, p)
	d.t.mu.Lock()
	defer d.t.mu.Unlock()
	for index := range p.Shards {
		done := d.t.tally.done[index]
		if done == nil || done.Stopped {
			m.Incomplete = append(m.Incomplete, index)
		}
		if done != nil && end.state != modelmanager.JobCancelled {
			m.Parts = append(m.Parts, done.Part)
		}
	}
	return m
}

// close moves a finished job into the history, and removes what only its run
// needed. It may be repeated.
func (s *Service) close(ctx context.Context, m *Manifest) error {
	if err := s.config.Bucket.WriteAll(ctx, historyKey(m.ID, m.Model, m.State), nil); err != nil {
		return err
	}
	if err := s.tidyLater(ctx, m.ID); err != nil {
		return err
	}
	if err := s.clean(ctx, m); err != nil {
		return err
	}
	if err := s.config.Bucket.Delete(ctx, activeKey(m.ID, m.Model)); err != nil {
		return err
	}
	s.forget(m.ID)
	return nil
}

// clean removes files of attempts that don't count; of a cancelled job, all.
func (s *Service) clean(ctx context.Context, m *Manifest) error {
	if err := s.config.Bucket.Delete(ctx, usedKey(m.ID)); err != nil {
		return err
	}
	if m.State == modelmanager.JobCancelled {
		return s.deleteData(ctx, m.Job)
	}
	if err := s.config.Bucket.DeletePrefix(ctx, progressPrefix(m.ID)); err != nil {
		return err
	}
	var kept []string
	for _, part := range m.Parts {
		_, name, _ := strings.Cut(part.Key, "/parts/")
		name, _, _ = strings.Cut(name, ".")
		kept = append(kept, name) // 00000-<attempt>, the same in parts/ and rejected/
	}
	slices.Sort(kept)
	for _, dir := range []string{"parts/", "rejected/"} {
		objects, err := s.config.Bucket.List(ctx, folder(m.ID)+dir, "", 0)
		if err != nil {
			return err
		}
		for _, object := range objects {
			name, _, _ := strings.Cut(strings.TrimPrefix(object.Key, folder(m.ID)+dir), ".")
			if _, ok := slices.BinarySearch(kept, name); ok {
				continue
			}
			if err := s.config.Bucket.Delete(ctx, object.Key); err != nil {
				return err
			}
		}
	}
	if err := s.cleanPieces(ctx, m.ID); err != nil {
		return err
	}
	return s.config.Bucket.DeletePrefix(ctx, folder(m.ID)+"search/")
}

// cleanPieces removes pieces of plans that came to nothing. Those of the plan
// are kept for a retry.
func (s *Service) cleanPieces(ctx context.Context, id string) error {
	objects, err := s.config.Bucket.List(ctx, folder(id)+"input/", "", 0)
	if err != nil || len(objects) == 0 {
		return err
	}
	p, err := s.plan(ctx, id)
	if err != nil {
		return err
	}
	kept := make(map[string]bool)
	if p != nil {
		for _, one := range p.Shards {
			kept[one.Piece] = true
		}
	}
	for _, object := range objects {
		if !kept[object.Key] {
			if err := s.config.Bucket.Delete(ctx, object.Key); err != nil {
				return err
			}
		}
	}
	return nil
}

// files returns what the shards of a job have committed, in input order.
func (s *Service) files(ctx context.Context, id string) ([]*shardRecord, error) {
	objects, err := s.config.Bucket.List(ctx, shardsPrefix(id), "", 0)
	if err != nil {
		return nil, err
	}
	records := make([]*shardRecord, 0, len(objects))
	for _, object := range objects {
		done := new(shardRecord)
		if found, err := s.load(ctx, object.Key, done); err != nil || !found {
			return nil, err
		}
		records = append(records, done)
	}
	return records, nil
}
