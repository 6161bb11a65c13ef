package modelmanager

import (
	"encoding/json"
	"time"
)

// The types below are the bodies of the REST API (contract 4), for the server
// and for the client package alike.

// ModelInfo is a model as GET /v1/models/{model} shows it. Lists leave Spec out.
type ModelInfo struct {
	Name    string            `json:"name"`
	Summary string            `json:"summary"`
	Owner   string            `json:"owner"`
	Labels  map[string]string `json:"labels,omitempty"`
	Serve   []Mode            `json:"serve"`
	Spec    json.RawMessage   `json:"spec,omitempty"` // of the version with the largest share
	Traffic Traffic           `json:"traffic"`
	Health  Health            `json:"health"`
	Latest  int               `json:"latest"`
	Created time.Time         `json:"created"`
	Retired *Change           `json:"retired,omitempty"`
}

// ModelList is a page of models, in the order of their names.
type ModelList struct {
	Models        []ModelInfo `json:"models"`
	NextPageToken string      `json:"next_page_token,omitempty"`
}

// VersionInfo is a version as the API shows it.
type VersionInfo struct {
	Model      string          `json:"model"`
	Version    int             `json:"version"`
	Digest     string          `json:"digest"`
	Spec       json.RawMessage `json:"spec,omitempty"`
	Artifact   Artifact        `json:"artifact"`
	Source     Source          `json:"source"`
	Created    time.Time       `json:"created"`
	By         string          `json:"by,omitempty"`
	ApprovedBy string          `json:"approved_by,omitempty"`
	Percent    int             `json:"percent"` // of the model's traffic now
	Health     Health          `json:"health"`
}

// VersionList is a page of versions, newest first.
type VersionList struct {
	Versions      []VersionInfo `json:"versions"`
	NextPageToken string        `json:"next_page_token,omitempty"`
}

// PublishRequest asks for a version to be published.
type PublishRequest struct {
	Spec     json.RawMessage `json:"spec"` // resolved, as Model Manager's own tools write it
	Artifact ArtifactRef     `json:"artifact"`
	Source   Source          `json:"source,omitempty"`
	Version  int             `json:"version,omitempty"` // 0: the next number
	Reason   string          `json:"reason,omitempty"`
	// Hold publishes without the rollout that the spec asks for: traffic stays.
	Hold bool `json:"hold,omitempty"`
}

// ArtifactRef names what a version runs: exactly one of its fields is set.
type ArtifactRef struct {
	Image  string `json:"image,omitempty"`  // a reference by digest
	Upload string `json:"upload,omitempty"` // the id of an upload: the archive of the model's folder
}

// PublishResult is the version that a publication led to.
type PublishResult struct {
	VersionInfo
	New bool `json:"new"` // false: this content had been published before
}

// TrafficHistory lists the last settings of a model's traffic, newest first.
type TrafficHistory struct {
	History []Traffic `json:"history"`
}

// RollbackRequest says why.
type RollbackRequest struct {
	Reason string `json:"reason,omitempty"`
}

// PredictRequest asks for predictions of rows.
type PredictRequest struct {
	Rows    []json.RawMessage `json:"rows"`
	IDs     []json.RawMessage `json:"ids,omitempty"`
	OnError string            `json:"on_error,omitempty"` // "fail" (default) or "partial"
}

// PredictResponse has a prediction for each row, null where Errors names it.
type PredictResponse struct {
	Model       string            `json:"model"`
	Version     int               `json:"version"`
	Predictions []json.RawMessage `json:"predictions"`
	IDs         []json.RawMessage `json:"ids,omitempty"`
	Errors      []RowError        `json:"errors,omitempty"`
}

// Diff compares two versions of a model.
type Diff struct {
	Model    string           `json:"model"`
	From     int              `json:"from"`
	To       int              `json:"to"`
	Breaking bool             `json:"breaking"`
	Changes  []SpecChange     `json:"changes"`
	Artifact ArtifactDiff     `json:"artifact"`
	Training []TrainingChange `json:"training,omitempty"`
	Examples []ExampleDiff    `json:"examples,omitempty"`
	// Problem says why there are no predictions to compare, if there are none.
	Problem string `json:"problem,omitempty"`
}

// SpecChange is one difference between two specs.
type SpecChange struct {
	Path     string `json:"path"` // features.mean_radius.minimum
	Message  string `json:"message"`
	Breaking bool   `json:"breaking"`
}

// ArtifactDiff compares what two versions run.
type ArtifactDiff struct {
	From string `json:"from"` // digest
	To   string `json:"to"`
	Same bool   `json:"same"`
}

// TrainingChange is one difference in the training block, metrics above all.
type TrainingChange struct {
	Path string `json:"path"`
	From any    `json:"from,omitempty"`
	To   any    `json:"to,omitempty"`
}

// ExampleDiff has both versions' predictions of one example.
type ExampleDiff struct {
	Name     string          `json:"name,omitempty"`
	Features json.RawMessage `json:"features"`
	From     json.RawMessage `json:"from"`
	To       json.RawMessage `json:"to"`
}

// JobRequest asks for a job.
type JobRequest struct {
	Input       JobInput          `json:"input"`
	Output      JobOutput         `json:"output,omitempty"`
	Version     int               `json:"version,omitempty"` // 0: the largest share of the traffic
	MaxRejected string            `json:"max_rejected,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
}

// JobList is a page of jobs, newest first.
type JobList struct {
	Jobs          []Job  `json:"jobs"`
	NextPageToken string `json:"next_page_token,omitempty"`
}

// JobCheck is the answer to a dry run: what was sniffed, and what would go wrong.
type JobCheck struct {
	Input    JobInput          `json:"input"`   // every field filled in
	Headers  []string          `json:"headers"` // the file's columns
	Mapping  map[string]string `json:"mapping"` // feature → header, as proposed
	Rows     int64             `json:"rows"`    // how many rows were looked at
	Complete bool              `json:"complete"`
	Problems []ColumnProblem   `json:"problems,omitempty"`
}

// ColumnProblem is one kind of problem in one column.
type ColumnProblem struct {
	Column  string   `json:"column"`
	Code    Code     `json:"code"`
	Message string   `json:"message"`
	Count   int64    `json:"count"`             // rows
	Samples []string `json:"samples,omitempty"` // a few of the values
	Rows    []int64  `json:"rows,omitempty"`    // and where they are
}

// Upload is a complete upload.
type Upload struct {
	ID     string `json:"id"`
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// Limits are what a server lets a call ask for; beyond them it answers 413.
type Limits struct {
	PredictRows     int   `json:"predict_rows"`     // rows of one real-time call
	PredictBytes    int64 `json:"predict_bytes"`    // the body of one
	AnswerBytes     int64 `json:"answer_bytes"`     // and its answer
	WaitSeconds     int   `json:"wait_seconds"`     // a call's deadline without Prefer: wait
	MaxWaitSeconds  int   `json:"max_wait_seconds"` // the longest that Prefer: wait can ask for
	ConcurrentCalls int   `json:"concurrent_calls"` // real-time calls under way at once, of all models
	WaitingCalls    int   `json:"waiting_calls"`    // calls that wait for one version to start
	UploadBytes     int64 `json:"upload_bytes"`     // one upload
	SpecBytes       int   `json:"spec_bytes"`       // a version's spec, as canonical JSON
	BodyBytes       int64 `json:"body_bytes"`       // the body of every other call
	PageItems       int   `json:"page_items"`       // of a list
}
