package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// Review is the result of validating several models: what mm validate reports.
type Review struct {
	Since   string        `json:"since,omitempty"` // the revision that changes were counted from
	Valid   bool          `json:"valid"`           // no model has an error
	Models  []*Report     `json:"models"`          // in the order of their folders
	Removed []Change      `json:"removed,omitempty"`
	Servers []string      `json:"servers,omitempty"` // compared with
	Took    spec.Duration `json:"took"`

	root string // of the repository, for paths
}

// Subject is a folder to be validated.
type Subject struct {
	Dir    string  // as it was named
	Change *Change // what became of it, if that is known

	submodules []string // that lie in it
}

// Reviewer validates models, each apart from the others.
type Reviewer struct {
	Validator *Validator
	Servers   []LiveServer // whose live versions the models are compared with
	Root      string       // of the repository, absolute; "": there is none
	Remote    string       // its address, whose names its models have; "": unknown
	Names     Names        // of the repository's other models; may be nil
	Sample    string       // a file of rows to compare predictions on; "": one in the model's folder

	// AllowBreaking tells for which models breaking changes are allowed; nil: none.
	AllowBreaking func(model string) bool

	Timeout  time.Duration // of one model; default 10 minutes
	Parallel int           // models at a time; default 2
	Options  Options
}

// Review validates models, some at a time. What one does, a crash of this
// program's own included, is in its report and changes nothing in the others'.
// The error is ctx's.
func (r *Reviewer) Review(ctx context.Context, subjects []Subject) (*Review, error) {
	begin := time.Now()
	review := &Review{Valid: true, Models: make([]*Report, len(subjects)), root: r.Root}
	for _, server := range r.Servers {
		review.Servers = append(review.Servers, server.Server())
	}
	var group errgroup.Group
	group.SetLimit(cmp.Or(r.Parallel, 2))
	for i, subject := range subjects {
		group.Go(func() error {
			if ctx.Err() == nil {
				review.Models[i] = r.one(ctx, subject, len(subjects) > 1)
			}
			return nil
		})
	}
	_ = group.Wait() // its functions return nil
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	for _, report := range review.Models {
		review.Valid = review.Valid && report.Valid
	}
	review.Took = spec.Duration(time.Since(begin).Round(time.Millisecond))
	return review, nil
}

// one validates one model, whatever happens.
func (r *Reviewer) one(ctx context.Context, subject Subject, several bool) (report *Report) {
	begin := time.Now()
	timeout := cmp.Or(r.Timeout, 10*time.Minute)
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	report = &Report{Folder: subject.Dir, Change: subject.Change, Examples: []ExampleResult{}}
	if subject.Change != nil {
		report.Model = subject.Change.Model
	}
	defer func() {
		if p := recover(); p != nil {
			report.fail(&modelmanager.Error{Code: modelmanager.CodeInternal, Detail: fmt.Sprintf("a fault of mm itself: %v\n%s", p, debug.Stack())}, subject.Dir)
		}
		report.Took = spec.Duration(time.Since(begin).Round(time.Millisecond))
		report.finish(r.Root)
	}()
	err := r.validate(limited, subject, report, several)
	switch {
	case errors.Is(limited.Err(), context.DeadlineExceeded) && ctx.Err() == nil && err != nil:
		report.fail(modelmanager.Errorf(modelmanager.CodeDeadlineExceeded,
			"validating it took longer than %s (--timeout)", timeout), subject.Dir)
	case err != nil:
		report.fail(err, subject.Dir)
	}
	return report
}

// validate fills a model's report, as far as it comes.
func (r *Reviewer) validate(ctx context.Context, subject Subject, report *Report, several bool) error {
	if _, err := ModelFolder(subject.Dir); err != nil {
		return err
	}
	folder, err := spec.LoadFolder(subject.Dir)
	if err != nil {
		return err
	}
	report.Model, report.loaded = folder.Spec.Name, true
	for _, warning := range folder.Warnings {
		report.Findings = append(report.Findings, found(SeverityWarning, FoundAdvice, warning))
	}
	report.Findings = append(report.Findings, checkName(folder, r.twins(subject, folder))...)
	for _, submodule := range subject.submodules {
		report.Findings = append(report.Findings, Finding{
			Code: modelmanager.CodeInvalidSpec, Severity: SeverityError, File: submodule,
			Message: "this " + isSubmodule, Suggestion: insteadOfSubmodule,
		})
	}
	live := r.compare(ctx, folder, report)

	options := r.Options
	if several && options.Progress != nil {
		options.Progress = func(text string) { r.Options.Progress(folder.Spec.Name + ": " + text) }
	}
	prepared, err := Prepare(ctx, folder, options)
	if err != nil {
		report.Findings = append(report.Findings, checkFolder(folder)...)
		return err
	}
	defer prepared.Close()
	report.Findings = append(report.Findings, prepared.findings...)
	if prepared.skips(report) {
		return nil
	}
	t := trial{Prepared: prepared, Options: options, report: report}
	if sample := r.samplePath(folder); len(live) > 0 || sample != "" {
		t.answered = live.answered(sample, report)
	}
	err = r.Validator.run(ctx, t)
	checkExamples(report, folder)
	return err
}

func (r *Reviewer) twins(subject Subject, folder *spec.Folder) []string {
	if subject.Change != nil {
		return subject.Change.Twins
	}
	if r.Names == nil {
		return nil
	}
	twins := r.Names(folder.Root, folder.Spec.Name)
	for i, twin := range twins {
		twins[i] = relativeTo(r.Root, twin)
	}
	return twins
}

// compare asks each server for the live version.
func (r *Reviewer) compare(ctx context.Context, folder *spec.Folder, report *Report) liveVersions {
	if len(r.Servers) == 0 {
		return nil
	}
	options := LiveOptions{
		Repository:    r.Remote,
		AllowBreaking: r.AllowBreaking != nil && r.AllowBreaking(folder.Spec.Name),
	}
	report.Live = make([]Comparison, len(r.Servers))
	var live liveVersions
	for i, server := range r.Servers {
		comparison, findings := compareLive(ctx, server, folder, options)
		report.Live[i] = comparison
		report.Findings = append(report.Findings, findings...)
		if comparison.live != nil {
			live = append(live, askEarly(ctx, server, &report.Live[i], folder.Spec.Examples))
		}
	}
	return live
}

// sampleNames are the files of a model's folder that are taken for its sample.
var sampleNames = []string{"sample.csv", "sample.parquet", "sample.jsonl"}

func (r *Reviewer) samplePath(folder *spec.Folder) string {
	if r.Sample != "" {
		return r.Sample
	}
	for _, name := range sampleNames {
		path := filepath.Join(folder.Root, name)
		if isFile(path) {
			return path
		}
	}
	return ""
}

// relativeTo writes a path relative to a repository's root, with slashes; one
// that lies elsewhere stays as it is.
func relativeTo(root, path string) string {
	if root == "" || path == "" {
		return path
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	for range 2 {
		if relative, err := filepath.Rel(root, absolute); err == nil && relative != ".." && !strings.HasPrefix(relative, ".."+string(filepath.Separator)) {
			return filepath.ToSlash(relative)
		}
		real, err := filepath.EvalSymlinks(filepath.Dir(absolute))
		if err != nil {
			break
		}
		absolute = filepath.Join(real, filepath.Base(absolute))
	}
	return path
}
