package batch

import (
	"context"
	"fmt"
	"io"
	"strings"

	"modelmanager.dev"
)

// Names in an output folder beside the parts. Readers of such folders pass
// over names that begin with an underscore.
const (
	successName = "_SUCCESS" // written last, empty
	ownerName   = "_JOB"     // written first, the job's id
)

// within is the URI of a file in an output folder.
func within(folder, name string) string { return strings.TrimSuffix(folder, "/") + "/" + name }

// vacant checks that a job may write to an output folder, and that nothing is
// there: new parts beside old ones would be taken for one output.
func (s *Service) vacant(ctx context.Context, folder string) error {
	if folder == "" {
		return nil
	}
	bucket, key, err := s.config.Locations.Resolve(within(folder, successName))
	if err != nil {
		return err
	}
	objects, err := bucket.List(ctx, strings.TrimSuffix(key, successName), "", 1)
	if err != nil {
		return err
	}
	if len(objects) > 0 {
		return modelmanager.Errorf(modelmanager.CodeConflict, "submitting a job: there are files in %s already; choose another output.uri", folder)
	}
	return nil
}

// deliver copies the parts to where the job wants its output. A reader that
// waits for _SUCCESS sees all of them. It may be repeated.
func (d *drive) deliver(ctx context.Context, m *Manifest) error {
	if err := d.own(ctx, m); err != nil {
		return err
	}
	for i, part := range m.Parts {
		uri := within(m.Output.URI, fmt.Sprintf("part-%05d.%s", i, m.Output.Extension()))
		if err := d.copyOut(ctx, part.Key, uri); err != nil {
			return err
		}
	}
	bucket, key, err := d.config.Locations.Resolve(within(m.Output.URI, successName))
	if err != nil {
		return err
	}
	return bucket.WriteAll(ctx, key, nil)
}

// own makes the output folder this job's, or fails if it is another's.
func (d *drive) own(ctx context.Context, m *Manifest) error {
	bucket, key, err := d.config.Locations.Resolve(within(m.Output.URI, ownerName))
	if err != nil {
		return err
	}
	err = bucket.Create(ctx, key, []byte(d.id))
	if modelmanager.CodeOf(err) != modelmanager.CodeConflict {
		return err
	}
	owner, err := bucket.ReadAll(ctx, key, 1<<10)
	if err != nil || string(owner) == d.id {
		return err
	}
	return modelmanager.Errorf(modelmanager.CodeBadRequest,
		"the output folder %s is the job %s's by now; retry with another output.uri", m.Output.URI, owner)
}

func (d *drive) copyOut(ctx context.Context, from, uri string) error {
	bucket, key, err := d.config.Locations.Resolve(uri)
	if err != nil {
		return err
	}
	r, err := d.config.Bucket.Read(ctx, from, 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := bucket.Write(ctx, key)
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := io.Copy(w, r); err != nil {
		return modelmanager.Errorf(modelmanager.CodeStorage, "writing %s: %w", uri, err)
	}
	return w.Close()
}
