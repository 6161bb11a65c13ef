package batch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// Request asks for a job.
type Request struct {
	Model   string
	Version int        // pinned by the caller: never 0
	Spec    *spec.Spec // of the version; nil: looked up

	Input       modelmanager.JobInput
	Output      modelmanager.JobOutput
	MaxRejected string
	Labels      map[string]string
	By          string
	// IdempotencyKey makes the same request of the same caller answer the same
	// job; "": each request is a new job.
	IdempotencyKey string
	Requested      int    // the version that the caller named, 0 if none: part of what makes requests the same
	RetryOf        string // set by Retry
}

// claim is idempotency/<hash>.json.
type claim struct {
	Job         string `json:"job"`
	Fingerprint string `json:"fingerprint"`
}

// Submit accepts a job: once it has returned, the job runs whatever becomes of
// this server.
func (s *Service) Submit(ctx context.Context, request Request) (modelmanager.Job, error) {
	version, parsed, err := s.version(ctx, request)
	if err != nil {
		return modelmanager.Job{}, err
	}
	if err := check(&request, parsed); err != nil {
		return modelmanager.Job{}, err
	}
	print := fingerprint(request)
	first, err := s.claimed(ctx, request, print)
	if err != nil {
		return modelmanager.Job{}, err
	}
	if first != "" {
		job, err := s.Get(ctx, first)
		if modelmanager.CodeOf(err) != modelmanager.CodeNotFound {
			return job, err
		}
		// It was claimed, and never accepted: go on in its place.
	}
	if err := s.vacant(ctx, request.Output.URI); err != nil {
		return modelmanager.Job{}, err
	}
	src, err := s.find(ctx, &request.Input)
	if err != nil {
		return modelmanager.Job{}, err
	}
	if err := s.fitsAtOnce(ctx, request, parsed, src); err != nil {
		return modelmanager.Job{}, err
	}
	id, err := s.claim(ctx, request, print)
	if err != nil {
		return modelmanager.Job{}, err
	}
	r := record{Digest: version.Digest, Source: src, Fingerprint: print, Job: modelmanager.Job{
		ID: id, Model: request.Model, Version: version.Number, State: modelmanager.JobQueued, Created: s.now().UTC(),
		Input: request.Input, Output: request.Output, Labels: request.Labels, By: request.By,
		RetryOf: request.RetryOf, MaxRejected: request.MaxRejected,
	}}
	return s.accept(ctx, r)
}

// accept writes a job down. The marker comes first: without request.json it
// means nothing, while a job without a marker would never run.
func (s *Service) accept(ctx context.Context, r record) (modelmanager.Job, error) {
	id := r.Job.ID
	if r.Job.Input.Upload != "" {
		if _, err := s.config.Uploads.Hold(ctx, r.Job.Input.Upload, id); err != nil {
			return modelmanager.Job{}, err
		}
	}
	if err := s.config.Bucket.WriteAll(ctx, activeKey(id, r.Job.Model), nil); err != nil {
		return modelmanager.Job{}, err
	}
	if err := s.create(ctx, requestKey(id), r); err != nil {
		if modelmanager.CodeOf(err) == modelmanager.CodeConflict {
			return s.Get(ctx, id) // the same request, at the same time
		}
		return modelmanager.Job{}, err
	}
	s.wake()
	return r.Job, nil
}

// version finds the version that a request names, and its spec.
func (s *Service) version(ctx context.Context, request Request) (modelmanager.Version, *spec.Spec, error) {
	version, err := s.config.Versions.Version(ctx, request.Model, request.Version)
	if err != nil {
		return version, nil, err
	}
	if request.Spec != nil {
		return version, request.Spec, nil
	}
	parsed, err := spec.FromCanonical(version.Spec)
	return version, parsed, err
}

// Columns that output.add can name.
var added = []string{"_model", "_version", "_job", "_scored_at"}

// check refuses what can't become a job, and fills in what has a default.
func check(request *Request, parsed *spec.Spec) error {
	bad := func(format string, args ...any) error {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "submitting a job: "+format, args...)
	}
	if !slices.Contains(parsed.Serve, modelmanager.Batch) {
		return modelmanager.Errorf(modelmanager.CodeNotServed,
			"version %d of %s doesn't serve batch jobs; its model.yaml would have to say serve: [batch]", request.Version, request.Model)
	}
	if request.MaxRejected == "" {
		request.MaxRejected = "0"
	}
	if _, err := parseLimit(request.MaxRejected); err != nil {
		return err
	}
	output := &request.Output
	if output.Rejected == "" {
		output.Rejected = "separate"
	}
	if output.Rejected != "separate" && output.Rejected != "inline" {
		return bad("output.rejected is %q, it can be separate or inline", output.Rejected)
	}
	if output.Format != "" && !slices.Contains([]string{"csv", "jsonl", "parquet", "xlsx"}, output.Format) {
		return bad("output.format is %q, it can be csv, jsonl, parquet or xlsx", output.Format)
	}
	if !slices.Contains([]string{"", "none", "gzip", "zstd"}, output.Compression) {
		return bad("output.compression is %q, it can be none, gzip or zstd", output.Compression)
	}
	if output.Formulas != "" && output.Formulas != "keep" && output.Formulas != "escape" {
		return bad("output.formulas is %q, it can be keep or escape", output.Formulas)
	}
	if output.Add == nil {
		output.Add = added
	}
	for _, name := range output.Add {
		if !slices.Contains(added, name) {
			return bad("output.add names %q, it can have %s", name, strings.Join(added, ", "))
		}
	}
	for _, name := range slices.Sorted(mapKeys(request.Input.Columns)) {
		if !slices.ContainsFunc(parsed.Features, func(f modelmanager.Field) bool { return f.Name == name }) {
			return bad("input.columns names %q, which is no feature of %s", name, request.Model)
		}
	}
	if len(request.Labels) > 64 {
		return bad("a job can have 64 labels")
	}
	return nil
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

// limit is a parsed max_rejected.
type limit struct {
	rows    int64
	percent float64 // if ≥ 0, of all rows
}

func parseLimit(text string) (limit, error) {
	wrong := modelmanager.Errorf(modelmanager.CodeBadRequest,
		"max_rejected is %q; write a number of rows, 100, or a percentage, 2.5%%", text)
	if number, ok := strings.CutSuffix(text, "%"); ok {
		percent, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || math.IsNaN(percent) || percent < 0 || percent > 100 {
			return limit{}, wrong
		}
		return limit{percent: percent}, nil
	}
	rows, err := strconv.ParseInt(text, 10, 64)
	if err != nil || rows < 0 {
		return limit{}, wrong
	}
	return limit{rows: rows, percent: -1}, nil
}

// passed tells whether so many rejected rows, of total, are too many.
func (l limit) passed(rejected, total int64) bool {
	if l.percent < 0 {
		return rejected > l.rows
	}
	return float64(rejected) > float64(total)*l.percent/100
}

// claim finds the id of a request: a new one, or the one that this caller's
// key for this model has claimed before.
func (s *Service) claim(ctx context.Context, request Request, print string) (string, error) {
	id := newID(s.now())
	if request.IdempotencyKey == "" {
		return id, nil
	}
	err := s.create(ctx, idempotencyKey(request), claim{Job: id, Fingerprint: print})
	if modelmanager.CodeOf(err) == modelmanager.CodeConflict {
		return s.claimed(ctx, request, print)
	}
	return id, err
}

// claimed returns the id that this caller's key for this model has claimed
// before, "" if it has none.
func (s *Service) claimed(ctx context.Context, request Request, print string) (string, error) {
	if request.IdempotencyKey == "" {
		return "", nil
	}
	var first claim
	found, err := s.load(ctx, idempotencyKey(request), &first)
	if err != nil || !found {
		return "", err
	}
	if first.Fingerprint != print {
		return "", modelmanager.Errorf(modelmanager.CodeConflict,
			"this Idempotency-Key has made the job %s from another request; use a new key for a new job", first.Job)
	}
	return first.Job, checkID(first.Job)
}

func idempotencyKey(request Request) string {
	hash := sha256.New()
	for _, part := range []string{request.Model, request.By, request.IdempotencyKey} {
		hash.Write([]byte(strconv.Itoa(len(part)) + ":" + part))
	}
	return idempotencyPrefix + hex.EncodeToString(hash.Sum(nil)) + ".json"
}

const idempotencyPrefix = "idempotency/"

// fingerprint names the content of a request.
func fingerprint(request Request) string {
	request.IdempotencyKey, request.Spec, request.Version = "", nil, 0
	data, err := json.Marshal(request)
	if err != nil {
		panic(err) // a Request has nothing that JSON lacks
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
