// Package spec reads a model.yaml: strictly, with file, line, column, a
// snippet and a suggestion in every error, all errors of a file at once.
package spec

import (
	"encoding/json"
	"time"

	"modelmanager.dev"
)

// Spec is a parsed and resolved model.yaml: complete without its template,
// with every default filled in.
type Spec struct {
	Name    string              `json:"name"`
	Summary string              `json:"summary"`
	Owner   string              `json:"owner"`
	Labels  map[string]string   `json:"labels,omitempty"`
	Card    string              `json:"card,omitempty"` // a file of the folder; default README.md where there is one
	Serve   []modelmanager.Mode `json:"serve"`
	Rows    Rows                `json:"rows"`

	Features    []modelmanager.Field `json:"features"`
	Predictions []modelmanager.Field `json:"predictions"`

	Run    Run            `json:"run"`
	Build  *Build         `json:"build,omitempty"`
	Files  []File         `json:"files,omitempty"`
	Params map[string]any `json:"params,omitempty"` // any JSON object; handed to predict

	Env      map[string]string `json:"env,omitempty"`
	Secrets  []Secret          `json:"secrets,omitempty"`
	Network  []string          `json:"network,omitempty"` // host:port
	Identity string            `json:"identity,omitempty"`

	Resources Resources `json:"resources"`
	Timeouts  Timeouts  `json:"timeouts"`
	Scale     Scale     `json:"scale"`
	Batch     Batch     `json:"batch"`
	Rollout   Rollout   `json:"rollout"`

	Training map[string]any `json:"training,omitempty"`
	Examples []Example      `json:"examples"`
}

// Rows says whether predictions look across rows.
type Rows string

// Independent rows are scored each by itself; dependent ones together: one
// request per worker call, one shard per job.
const (
	Independent Rows = "independent"
	Dependent   Rows = "dependent"
)

// Run says how the model is run; exactly one field is set.
type Run struct {
	Python  string   `json:"python,omitempty"` // FILE:FUNCTION
	R       string   `json:"r,omitempty"`      // FILE:FUNCTION
	Command []string `json:"command,omitempty"`
	HTTP    *HTTP    `json:"http,omitempty"`
	Job     *Job     `json:"job,omitempty"`
}

// HTTP runs a model that is a server of its own. The command finds the port
// to listen on, at 127.0.0.1, in $MM_PORT (and $PORT).
type HTTP struct {
	Command  []string       `json:"command"`
	Ready    string         `json:"ready"`              // path; default /healthz
	Path     string         `json:"path"`               // default /invocations
	Format   string         `json:"format"`             // rows, columns, instances, dataframe_split, v2, csv
	Envelope map[string]any `json:"envelope,omitempty"` // merged into the request
}

// Job runs a model that only reads $MM_INPUT and writes $MM_OUTPUT, whole files.
type Job struct {
	Command []string `json:"command"`
}

// Build says how the model's environment is made.
type Build struct {
	Version    string   `json:"version,omitempty"` // of the language, "3.12"
	Packages   []string `json:"packages,omitempty"`
	Command    []string `json:"command,omitempty"` // its outputs join the artifact
	Dockerfile string   `json:"dockerfile,omitempty"`
	Image      string   `json:"image,omitempty"`
}

// NeedsImage tells whether the model runs in an image only.
func (s *Spec) NeedsImage() bool {
	return s.Build != nil && (s.Build.Dockerfile != "" || s.Build.Image != "")
}

// SeesAllRows tells whether the model has to see all rows at once: a row's
// predictions may depend on the others.
func (s *Spec) SeesAllRows() bool { return s.Rows == Dependent || s.Run.Job != nil }

// File is a large artifact that is fetched and verified, part of the version.
type File struct {
	Path   string `json:"path"`
	URI    string `json:"uri"`
	SHA256 string `json:"sha256"`
}

// Secret is an environment variable whose value the platform holds.
type Secret struct {
	Env  string `json:"env"`
	Name string `json:"name"`
}

// Resources bounds a worker.
type Resources struct {
	CPU    int64 `json:"cpu_milli"`    // thousandths of a core; default 500
	Memory int64 `json:"memory_bytes"` // default 512 MiB
	Disk   int64 `json:"disk_bytes"`   // default 1 GiB
}

// Timeouts of a worker.
type Timeouts struct {
	Start   Duration `json:"start"`   // default 60s
	Predict Duration `json:"predict"` // of one call of the worker; default 30s
}

// Scale bounds a version's replicas.
type Scale struct {
	Min         int      `json:"min"`
	Max         int      `json:"max"`         // default 10
	Concurrency int      `json:"concurrency"` // requests in flight a replica aims at; default 8
	Idle        Duration `json:"idle"`        // default 10m
}

// Batch says how jobs of this model are cut up.
type Batch struct {
	RowsPerShard int64    `json:"rows_per_shard"` // default 100000
	RowsPerCall  int      `json:"rows_per_call"`  // default 10000
	Parallelism  int      `json:"parallelism"`    // default 20
	Timeout      Duration `json:"timeout"`        // of a job; default 2h
	Retries      int      `json:"retries"`        // default 3
}

// Rollout says how a new version takes traffic.
type Rollout struct {
	Strategy string    `json:"strategy"` // manual, immediate (default), canary
	Steps    []int     `json:"steps,omitempty"`
	Pause    Duration  `json:"pause,omitempty"`
	BackWhen *BackWhen `json:"back_when,omitempty"`
}

// BackWhen are the conditions under which a canary goes back by itself.
type BackWhen struct {
	Errors     *float64 `json:"errors,omitempty"`       // share of calls, 0 to 1
	P99        Duration `json:"p99,omitempty"`          // latency
	OutOfRange *float64 `json:"out_of_range,omitempty"` // share of predictions outside their declared range
}

// Example is a row with the predictions that are expected of it; without
// Predictions, that the model answers at all.
type Example struct {
	Name        string                     `json:"name,omitempty"`
	Features    map[string]json.RawMessage `json:"features"`
	Predictions map[string]json.RawMessage `json:"predictions,omitempty"`
	Tolerance   float64                    `json:"tolerance,omitempty"` // absolute, of numbers
}

// Duration is written as in "1m30s".
type Duration time.Duration

// MarshalText writes d as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// Canonical returns the spec as one canonical JSON string: what a version
// keeps, and what its digest is made of.
func (s *Spec) Canonical() (string, error) {
	data, err := json.Marshal(s)
	return string(data), err
}

// FromCanonical reads what Canonical wrote.
func FromCanonical(text string) (*Spec, error) {
	s := new(Spec)
	if err := json.Unmarshal([]byte(text), s); err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeInvalidSpec, "reading a published spec: %w", err)
	}
	return s, nil
}
