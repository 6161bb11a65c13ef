package modelmanager

import "time"

// JobState is a job's state.
type JobState string

// States of a job. The last three are final.
const (
	JobQueued    JobState = "queued"
	JobRunning   JobState = "running"
	JobSucceeded JobState = "succeeded"
	JobFailed    JobState = "failed"
	JobCancelled JobState = "cancelled"
)

// Final tells whether a job in this state changes no more.
func (s JobState) Final() bool {
	return s == JobSucceeded || s == JobFailed || s == JobCancelled
}

// Job is one batch prediction over a data set, by one version.
type Job struct {
	ID       string            `json:"id"` // ids sort newest first
	Model    string            `json:"model"`
	Version  int               `json:"version"`
	State    JobState          `json:"state"`
	Reason   string            `json:"reason,omitempty"` // one sentence
	Code     Code              `json:"code,omitempty"`   // of a failed job
	Rows     JobRows           `json:"rows"`
	Shards   JobShards         `json:"shards"`
	Created  time.Time         `json:"created"`
	Started  *time.Time        `json:"started,omitempty"`
	Finished *time.Time        `json:"finished,omitempty"`
	Input    JobInput          `json:"input"`
	Output   JobOutput         `json:"output"`
	Labels   map[string]string `json:"labels,omitempty"`
	By       string            `json:"by,omitempty"`
	RetryOf  string            `json:"retry_of,omitempty"`

	// CPUSeconds is the processor time of the agents and workers that made the
	// results, as far as they have told: attempts that were lost don't count.
	CPUSeconds float64 `json:"cpu_seconds,omitempty"`

	// MaxRejected stops the job once more rows are rejected: "0" (the default),
	// a number, or a percentage like "2.5%".
	MaxRejected string `json:"max_rejected,omitempty"`
}

// JobRows counts a job's rows. In a finished job Read = Predicted + Rejected.
type JobRows struct {
	Total     int64            `json:"total,omitempty"` // of a running job: how many there are, once that is known
	Read      int64            `json:"read"`
	Predicted int64            `json:"predicted"`
	Rejected  int64            `json:"rejected"`
	Filled    map[string]int64 `json:"filled,omitempty"` // rows in which a feature took its default
}

// JobShards counts a job's shards.
type JobShards struct {
	Total int `json:"total"`
	Done  int `json:"done"`
}

// JobInput names a job's input, and says how to read it. Empty fields are
// sniffed; a finished job shows what was used.
type JobInput struct {
	URI    string `json:"uri,omitempty"`    // under a prefix that the operator allowed
	Upload string `json:"upload,omitempty"` // or the id of an upload
	Name   string `json:"name,omitempty"`   // the file's own name, for people

	Format      string            `json:"format,omitempty"`      // csv, jsonl, parquet, xlsx
	Compression string            `json:"compression,omitempty"` // none, gzip, zstd
	Delimiter   string            `json:"delimiter,omitempty"`   // one character; "tab" too
	Encoding    string            `json:"encoding,omitempty"`    // utf-8, windows-1252, utf-16le …
	Decimal     string            `json:"decimal,omitempty"`     // "." or ","
	HeaderRow   int               `json:"header_row,omitempty"`  // 1 is the first line; 0: sniffed
	Null        []string          `json:"null,omitempty"`        // what stands for null; default: the unquoted empty cell
	Dates       string            `json:"dates,omitempty"`       // layout such as DD/MM/YYYY; default ISO 8601
	Timezone    string            `json:"timezone,omitempty"`    // of naive timestamps
	Sheet       string            `json:"sheet,omitempty"`       // of a workbook; default the first
	Columns     map[string]string `json:"columns,omitempty"`     // feature → header
}

// JobOutput says where results go and what they look like.
type JobOutput struct {
	URI         string   `json:"uri,omitempty"`         // a folder under an allowed prefix; default: the job's own
	Format      string   `json:"format,omitempty"`      // default: the input's
	Compression string   `json:"compression,omitempty"` // none (default), gzip or zstd; of csv and jsonl
	Prefix      string   `json:"prefix,omitempty"`      // put before the predictions' names
	Add         []string `json:"add,omitzero"`          // _model, _version, _job, _scored_at; nil: all of them, empty: none
	Rejected    string   `json:"rejected,omitempty"`    // "separate" (default) or "inline"
	Formulas    string   `json:"formulas,omitempty"`    // "keep" (default), or "escape": texts that a spreadsheet would take for formulas get an apostrophe; of CSV and xlsx
}

// Extension is how names of files with this output end: "csv", "jsonl.gz".
func (o JobOutput) Extension() string {
	switch o.Compression {
	case "gzip":
		return o.Format + ".gz"
	case "zstd":
		return o.Format + ".zst"
	}
	return o.Format
}
