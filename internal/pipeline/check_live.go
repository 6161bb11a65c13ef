package pipeline

import (
	"context"
	"fmt"
	"io"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/spec"
)

// LiveServer is where the live version of a model is asked for: a server, through
// its API.
type LiveServer interface {
	Server() string // its address
	Model(ctx context.Context, model string) (modelmanager.ModelInfo, error)
	Version(ctx context.Context, model string, version int) (modelmanager.VersionInfo, error)
	Limits(ctx context.Context) (modelmanager.Limits, error)
	Predict(ctx context.Context, model string, version int, request modelmanager.PredictRequest) (modelmanager.PredictResponse, error)
	JobServer
}

// JobServer runs jobs: versions that serve batch only are asked by them.
type JobServer interface {
	Upload(ctx context.Context, name string, data io.Reader) (modelmanager.Upload, error)
	SubmitJob(ctx context.Context, model string, request modelmanager.JobRequest, idempotencyKey string) (modelmanager.Job, error)
	WatchJob(ctx context.Context, id string, progress func(modelmanager.Job)) (modelmanager.Job, error)
	JobOutput(ctx context.Context, id string) (io.ReadCloser, error)
	CancelJob(ctx context.Context, id string, deleteData bool) error
}

// Comparison is a model beside its live version on one server.
type Comparison struct {
	Server  string        `json:"server"`
	Version int           `json:"version,omitempty"` // the live one; 0: there is none
	Changes []spec.Change `json:"changes,omitempty"`
	Shifts  []Shift       `json:"shifts,omitempty"`
	// Problem says why predictions were not compared, if they weren't.
	Problem string `json:"problem,omitempty"`

	live *spec.Spec
}

// New tells that nothing of the model is live on the server.
func (c *Comparison) New() bool { return c.live == nil && c.Problem == "" }

// compareLive finds the live version of a folder's model on a server, and what
// changes for its callers. repository is where the folder comes from.
func compareLive(ctx context.Context, server LiveServer, folder *spec.Folder, options LiveOptions) (Comparison, []Finding) {
	name := folder.Spec.Name
	c := Comparison{Server: server.Server()}
	info, err := server.Model(ctx, name)
	switch modelmanager.CodeOf(err) {
	case "":
	case modelmanager.CodeNotFound, modelmanager.CodeRetired: // publishing brings a retired model back, without traffic
		return c, nil
	default:
		return c.unknown(folder, err)
	}
	c.Version = info.Traffic.Now().Largest()
	newest := c.Version
	if newest == 0 {
		newest = info.Latest
	}
	if newest == 0 {
		return c, nil
	}
	version, err := server.Version(ctx, name, newest)
	if err != nil {
		return c.unknown(folder, err)
	}
	var findings []Finding
	if from := version.Source.Repository; from != "" && !registry.SameRepository(from, options.Repository) {
		f := found(SeverityError, modelmanager.CodeNameTaken, folder.Place("name"))
		f.Message = fmt.Sprintf("the name %s belongs to %s on %s", name, from, c.Server)
		f.Suggestion = "choose another name, or publish from there"
		findings = append(findings, f)
	}
	if c.Version == 0 {
		return c, findings
	}
	if c.live, err = spec.FromCanonical(string(version.Spec)); err != nil {
		return c.unknown(folder, err)
	}
	c.Changes = spec.Diff(c.live, folder.Spec)
	for _, change := range c.Changes {
		if change.Breaking {
			findings = append(findings, breaking(change, folder, c.Version, options))
		}
	}
	return c, findings
}

// LiveOptions say how a model is compared with its live version.
type LiveOptions struct {
	Repository    string // where the model comes from, "" for nowhere
	AllowBreaking bool   // breaking changes are only warned of
}

func breaking(change spec.Change, folder *spec.Folder, version int, options LiveOptions) Finding {
	severity := SeverityError
	hint := fmt.Sprintf("callers of version %d can fail; keep what it had, or publish under another name; if they know of it, %s", version, howToAllow(folder.Spec.Name))
	if options.AllowBreaking {
		severity = SeverityWarning
		hint = fmt.Sprintf("it is allowed; callers of version %d can fail", version)
	}
	if change.Kind == spec.Added && strings.HasPrefix(change.Path, "features.") && !options.AllowBreaking {
		hint = fmt.Sprintf("give it a `default` (and `optional: true`, for files), so that calls to version %d stay right; or %s", version, howToAllow(folder.Spec.Name))
	}
	f := found(severity, FoundBreaking, folder.Place(change.Path))
	f.Message, f.Suggestion = change.Message, hint
	return f
}

// unknown is the comparison with a server that can't be asked: the model isn't
// fit to be published, since it may break callers.
func (c Comparison) unknown(folder *spec.Folder, err error) (Comparison, []Finding) {
	c.Problem = strings.TrimSpace(err.Error())
	f := found(SeverityError, FoundIncomparable, spec.Problem{File: folder.Place("").File})
	f.Message = fmt.Sprintf("not compared with what is live on %s: %s", c.Server, c.Problem)
	f.Suggestion = "whether callers will notice isn't known; try again when the server answers, name another with --against, or say --offline to check without one"
	return c, []Finding{f}
}
