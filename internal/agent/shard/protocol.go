package shard

import (
	"fmt"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
)

// PathJobs is where the server has the endpoints below. Calls send
// "Authorization: Bearer TOKEN" with the token of the job and step; errors are
// problems as everywhere.
//
//	POST {task}/attempts                     → Assignment; 409: there is nothing left to do
//	POST {task}/attempts/{attempt}/renew     → URLs
//	POST {task}/attempts/{attempt}/pieces/N  → {"url"}, where the plan step puts piece N
//	POST {task}/attempts/{attempt}/store     Parcel → Direct, where to put it; of the shards step
//	POST {task}/attempts/{attempt}/progress  Progress → Order
//	POST {task}/attempts/{attempt}/plan      Plan → Verdict; of the plan step
//	POST {task}/attempts/{attempt}/commit    Commit → Verdict; of the shards step
//	POST {task}/attempts/{attempt}/fault     Fault
const PathJobs = "/internal/jobs/"

// TaskPath returns the path of a task's endpoints.
func TaskPath(job, step string, index int) string {
	return fmt.Sprintf("%s%s/%s/%d", PathJobs, job, step, index)
}

// Assignment is all that an attempt needs to know.
type Assignment struct {
	Attempt string                 `json:"attempt"`
	Job     string                 `json:"job"`
	Model   string                 `json:"model"`
	Version int                    `json:"version"`
	Spec    string                 `json:"spec"`  // canonical
	Input   modelmanager.JobInput  `json:"input"` // of a shard: as sniffed
	ETag    string                 `json:"etag"`  // of the input as accepted
	Output  modelmanager.JobOutput `json:"output"`
	Scored  time.Time              `json:"scored_at"` // one instant for the whole job
	URLs    URLs                   `json:"urls"`

	Shard  *Shard `json:"shard,omitempty"`  // of the shards step
	Proven bool   `json:"proven,omitempty"` // as in Order
}

// URLs are paths on the server, good until Until; renewing gives new ones.
type URLs struct {
	Until     time.Time `json:"until"`
	Input     string    `json:"input"`            // GET; a shard's piece, if the input was split
	Rows      string    `json:"rows,omitempty"`   // GET; JSON Lines with the rows wanted
	Search    string    `json:"search,omitempty"` // GET; how far an earlier attempt's search for guilty rows has come
	Part      string    `json:"part,omitempty"`   // PUT
	Rejected  string    `json:"rejected,omitempty"`
	Logs      string    `json:"logs,omitempty"`
	SearchPut string    `json:"search_put,omitempty"` // PUT; the same object

	// Direct reads the input at the store itself, until the same time. Store
	// tells that Parcels can be stored there.
	Direct *Direct `json:"direct,omitempty"`
	Store  bool    `json:"store,omitempty"`
}

// Shard is one part of a plan.
type Shard struct {
	dataset.Slice
	Piece string `json:"piece,omitempty"` // key of the shard's own file, if the input was split

	// A retry reads only some of the slice's rows: those after After, and
	// those that the JSON Lines at the key Only name in "row".
	Filtered bool   `json:"filtered,omitempty"`
	After    int64  `json:"after,omitempty"`
	Only     string `json:"only,omitempty"`
}

// Plan is what the plan step finds out.
type Plan struct {
	Input  modelmanager.JobInput `json:"input"` // every field filled in
	ETag   string                `json:"etag"`
	Size   int64                 `json:"size"`
	SHA256 string                `json:"sha256"`
	Shards []Shard               `json:"shards"`
}

// Progress counts what an attempt has done so far.
type Progress struct {
	Rows       modelmanager.JobRows `json:"rows"`
	CPUSeconds float64              `json:"cpu_seconds,omitempty"` // of the agent and its worker so far
	Guilt
}

// Guilt says whether the model or its rows are at fault, as far as one shard
// can tell: a row on which the model fails is guilty only if it answers others,
// of any shard.
type Guilt struct {
	Passed  bool   `json:"passed,omitempty"`  // the model has answered a row of this shard
	Failed  int64  `json:"failed,omitempty"`  // rows on which it failed, if it has answered none
	Message string `json:"message,omitempty"` // of the first of them
	Asks    bool   `json:"asks,omitempty"`    // nothing more is tried until it is known whether the model answers others
}

// Order is the answer to a Progress.
type Order struct {
	// Stop asks for what there is to be committed at once, as the job has
	// failed for its rejected rows.
	Stop bool `json:"stop,omitempty"`
	// Proven tells that the model has answered rows of the job, of any shard.
	Proven bool `json:"proven,omitempty"`
	// Undecided tells that other attempts are still to say whether it does.
	Undecided bool `json:"undecided,omitempty"`
}

// File is one object that an attempt wrote.
type File struct {
	Key    string `json:"key"` // set by the server
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Commit offers an attempt's files as the shard's.
type Commit struct {
	Part     File                 `json:"part"`
	Rejected File                 `json:"rejected"`
	Logs     *File                `json:"logs,omitempty"`
	Rows     modelmanager.JobRows `json:"rows"`
	Started  time.Time            `json:"started"`
	Stopped  bool                 `json:"stopped,omitempty"`  // on an Order, before the slice's end
	LastRow  int64                `json:"last_row,omitempty"` // of a stopped shard
	Header   int64                `json:"header,omitempty"`   // bytes of the part's header, if it is a text

	CPUSeconds float64 `json:"cpu_seconds,omitempty"` // of the agent and its worker
	Guilt
}

// Verdict answers a commit. Of a shard's attempts one is accepted; the others'
// files are removed.
type Verdict struct {
	Accepted bool `json:"accepted"`
}

// Fault tells why an attempt gives up.
type Fault struct {
	Code    modelmanager.Code `json:"code"`
	Message string            `json:"message"`
}

// RowNumber is what counts of a line that names a row.
type RowNumber struct {
	Row int64 `json:"row"`
}
