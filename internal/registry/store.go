// Package registry keeps models and versions. The rules live once,
// in Registry; a Store beneath it keeps records and nothing else. Package
// registrytest holds the suite that every Store passes.
package registry

import (
	"context"

	"modelmanager.dev"
)

// Revision identifies one state of a model's record; only equality counts.
type Revision string

// None is the revision of a record that doesn't exist.
const None Revision = ""

// Store keeps records of models and versions. It is used by many goroutines
// at once, and, where the medium is shared, by many processes. What a call has
// written is durable when the call returns. Errors carry a code.
type Store interface {
	// Model returns a model's record; CodeNotFound if there is none.
	Model(ctx context.Context, name string) (modelmanager.Model, Revision, error)

	// PutModel writes a model's record if its stored revision is still old
	// (None: if there is no record), or else fails with CodeConflict and
	// changes nothing. It returns the new revision.
	PutModel(ctx context.Context, model modelmanager.Model, old Revision) (Revision, error)

	// CreateVersion keeps a version; CodeConflict if its number is taken. A
	// version is never changed.
	CreateVersion(ctx context.Context, version modelmanager.Version) error

	// DeleteVersion removes a version that its model's record says is being
	// dropped. One that doesn't exist is no error.
	DeleteVersion(ctx context.Context, model string, number int) error

	// Version returns one version; CodeNotFound if there is none.
	Version(ctx context.Context, model string, number int) (modelmanager.Version, error)

	// Versions returns a model's versions, newest first, at most limit of
	// them, with numbers below before (0: from the newest). An unknown model
	// has no versions.
	Versions(ctx context.Context, model string, before, limit int) ([]modelmanager.Version, error)

	// Watch calls event for every model there is, in any order, then once with
	// Synced, then for each change, until ctx ends or the connection to the
	// medium is lost (an error; the caller watches again). Events of one model
	// arrive in order; intermediate states may be left out. event must return
	// quickly and must not call the Store.
	Watch(ctx context.Context, event func(Event)) error

	// Close frees what the store holds. No call may be under way.
	Close() error
}

// Event is a model's new record, or Synced alone.
type Event struct {
	Model    modelmanager.Model
	Revision Revision
	Synced   bool // everything that existed when Watch was called has been told
}
