package modelmanager

import (
	"encoding/json"
	"time"
)

// The types below are the bodies of the REST API (docs/api.md), for the server
// and for the client package alike.

// ModelInfo is a model as GET /v1/models/{model} shows it. Lists leave Spec and
// Canary out.
type ModelInfo struct {
	Name    string            `json:"name"`
	Summary string            `json:"summary"`
	Owner   string            `json:"owner"`
	Labels  map[string]string `json:"labels,omitempty"`
	Serve   []Mode            `json:"serve"`
	Spec    json.RawMessage   `json:"spec,omitempty"` // of the version that answers the most calls now
	Traffic TrafficInfo       `json:"traffic"`
	Canary  *Canary           `json:"canary,omitempty"` // under way
	Health  Health            `json:"health"`
	Latest  int               `json:"latest"`
	Created time.Time         `json:"created"`
	Retired *Change           `json:"retired,omitempty"`
}

// Canary is a new version's way to all of the traffic, while it is under way.
type Canary struct {
	Version int       `json:"version"` // the new one
	Before  int       `json:"before"`  // that has the rest, and gets all back
	Step    int       `json:"step"`    // 1 is the first
	Steps   []int     `json:"steps"`   // percentages; 100 follows the last
	Since   time.Time `json:"since"`   // when the step began
	// Until is when the next step may come, and Latest when it is decided
	// however few calls there were.
	Until  time.Time `json:"until"`
	Latest time.Time `json:"latest"`
	// BackWhen says what would send it back, one sentence each.
	BackWhen []string `json:"back_when"`
	// Status is what is seen of it, and what it waits for, in one sentence.
	Status      string     `json:"status"`
	Calls       CallCounts `json:"calls"`        // of the new version in this step
	CallsBefore CallCounts `json:"calls_before"` // of the one before, meanwhile
}

// ModelList is a page of models, in the order of their names.
type ModelList struct {
	Models        []ModelInfo  `json:"models"`
	NextPageToken string       `json:"next_page_token,omitempty"`
	Counts        *ModelCounts `json:"counts,omitempty"` // of all that match, if they were asked for
}

// ModelCounts counts the models that a list selects, on all of its pages.
type ModelCounts struct {
	Models int          `json:"models"`
	Owners []OwnerCount `json:"owners"` // the most frequent first
	Labels []LabelCount `json:"labels"` // alike
	// Health counts by state what the list would select if it asked for none; it
	// is left out as long as the server doesn't know how models are.
	Health map[HealthState]int `json:"health,omitempty"`
}

// OwnerCount says how many models an owner has.
type OwnerCount struct {
	Owner  string `json:"owner"`
	Models int    `json:"models"`
}

// LabelCount says how many models have a label.
type LabelCount struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Models int    `json:"models"`
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
	Percent    int             `json:"percent"` // in the model's setting of traffic
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
	// ApprovedBy is who approved the version, on the word of who publishes it.
	ApprovedBy string `json:"approved_by,omitempty"`
	// Hold publishes without the rollout that the spec asks for: traffic stays.
	Hold bool `json:"hold,omitempty"`
}

// ArtifactRef names what a version runs: exactly one of its fields is set.
type ArtifactRef struct {
	Image  string `json:"image,omitempty"`  // a reference by digest
	Upload string `json:"upload,omitempty"` // the id of an upload: the archive of the model's folder
}

// Artifacts says what a server's versions run, and so what publishers bring.
type Artifacts struct {
	Kind string `json:"kind"` // "archive", of the model's folder, or "image"
	// The rest is for images alone: the prefix of the repositories that they are
	// pushed to (registry.example.org/models), what they are for (linux/amd64),
	// and the base images that models are put on, by language.
	Repository string            `json:"repository,omitempty"`
	Platform   string            `json:"platform,omitempty"`
	Bases      map[string]string `json:"bases,omitempty"`
}

// The kinds of artifacts.
const (
	ArtifactArchive = "archive"
	ArtifactImage   = "image"
)

// ServerInfo says what a server is.
type ServerInfo struct {
	Version   string    `json:"version"`
	Artifacts Artifacts `json:"artifacts"`
}

// PublishResult is the version that a publication led to.
type PublishResult struct {
	VersionInfo
	New bool `json:"new"` // false: this content had been published before
}

// RolloutRequest asks that a version be given the traffic its spec asks for.
type RolloutRequest struct {
	Reason string `json:"reason,omitempty"`
	Commit string `json:"commit,omitempty"` // that asks for it
	// Seen is the time of the setting that the asker saw in force; if another one
	// is by now, nothing is done (CodeConflict). Zero: that there was none; nil: whatever it is.
	Seen *time.Time `json:"seen,omitempty"`
}

// TrafficHistory lists the last settings of a model's traffic, newest first.
type TrafficHistory struct {
	History []Traffic `json:"history"`
}

// RollbackRequest says why.
type RollbackRequest struct {
	Reason string `json:"reason,omitempty"`
	// Seen is the time of the setting that the asker saw; if another one was made
	// since, nothing is done (CodeConflict). nil: whatever it is.
	Seen *time.Time `json:"seen,omitempty"`
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

	// UnderWay is there while a check of all rows goes on, of which Read is the
	// share of the file that was looked at, 0 to 1.
	UnderWay bool    `json:"under_way,omitempty"`
	Read     float64 `json:"read,omitempty"`

	Rejected int64             `json:"rejected"`         // of the rows looked at, those that a job would reject
	Matched  map[string]string `json:"matched"`          // feature → how its column was found: asked, name, likeness, order, items
	First    [][]string        `json:"first,omitempty"`  // the file's first rows, a text per column
	Sheets   []string          `json:"sheets,omitempty"` // of a workbook
}

// ColumnProblem is one kind of problem in one column.
type ColumnProblem struct {
	Column  string   `json:"column"`
	Code    Code     `json:"code"`
	Message string   `json:"message"`
	Count   int64    `json:"count"`             // rows
	Samples []string `json:"samples,omitempty"` // a few of the values
	Rows    []int64  `json:"rows,omitempty"`    // and where they are

	Cells []CellProblem `json:"cells,omitempty"` // the same few, each with its own reason
}

// CellProblem is a cell that would have its row rejected, and why.
type CellProblem struct {
	Row     int64  `json:"row"`   // 1 is the first data row
	Value   string `json:"value"` // as the file has it
	Message string `json:"message"`
}

// JobSample is a look at a finished job's results.
type JobSample struct {
	Columns []string   `json:"columns"` // of the output
	Rows    [][]string `json:"rows"`    // its first rows, a text per column; null is an empty one

	// Predictions say how the predictions are spread among Looked rows, which
	// come from all over the output: from Parts of its AllParts parts.
	Predictions []Distribution `json:"predictions"`
	Looked      int64          `json:"looked"`
	Total       int64          `json:"total"` // rows of the output
	Parts       int            `json:"parts"`
	AllParts    int            `json:"all_parts"`
}

// Distribution says how a prediction is spread: a number by bins, anything else
// by its most frequent values.
type Distribution struct {
	Name   string       `json:"name"` // of the output's column
	Count  int64        `json:"count"`
	Null   int64        `json:"null"` // among Count
	Min    float64      `json:"min,omitempty"`
	Mean   float64      `json:"mean,omitempty"`
	Max    float64      `json:"max,omitempty"`
	Bins   []Bin        `json:"bins,omitempty"`
	Values []ValueCount `json:"values,omitempty"` // the most frequent first
	Others int64        `json:"others,omitempty"` // that have none of Values
}

// Bin counts what is at least From, and below To; the last bin's To belongs to it.
type Bin struct {
	From  float64 `json:"from"`
	To    float64 `json:"to"`
	Count int64   `json:"count"`
}

// ValueCount is a value, and how often it is.
type ValueCount struct {
	Value string `json:"value"`
	Count int64  `json:"count"`
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
	// UploadRoom is for how many bytes there is room now where uploads are kept,
	// if that is a disk; nil: nobody knows.
	UploadRoom *int64 `json:"upload_room_bytes,omitempty"`
	SpecBytes  int    `json:"spec_bytes"` // a version's spec, as canonical JSON
	BodyBytes  int64  `json:"body_bytes"` // the body of every other call
	PageItems  int    `json:"page_items"` // of a list
}
