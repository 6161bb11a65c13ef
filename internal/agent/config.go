package agent

import (
	"io"

	"modelmanager.dev/internal/environment"
)

// Config is all that an agent is told. A platform writes it as a JSON file that
// only its owner can read, and starts `mm-agent FILE` (`mm agent FILE` is the
// same program inside mm).
type Config struct {
	Model   string `json:"model"`
	Version int    `json:"version"`
	Spec    string `json:"spec"` // canonical, of the version

	Dir         string                  `json:"dir"`     // the model's folder; nothing writes to it
	RunDir      string                  `json:"run_dir"` // scratch: the worker's $HOME and $TMPDIR
	Environment environment.Environment `json:"environment"`
	Zygote      string                  `json:"zygote,omitempty"` // socket of a pre-imported parent to fork from

	// Listen is where to serve, "unix:/path" or "tcp:host:port"; Key is what
	// callers must send. Not used by a batch agent.
	Listen string `json:"listen,omitempty"`
	Key    string `json:"key,omitempty"`

	// Lifeline makes the agent end itself and its worker when its standard
	// input ends: its parent is gone.
	Lifeline bool `json:"lifeline,omitempty"`

	Task *Task `json:"task,omitempty"` // set: run this and exit, don't serve

	// Output also takes what the worker writes to its standard output and
	// error, which is kept in RunDir in any case; may be nil.
	Output io.Writer `json:"-"`
}

// Task is one task of a job, for an agent in batch mode.
type Task struct {
	Server  string `json:"server"`          // base URL of the server's internal endpoints
	Token   string `json:"token,omitempty"` // for this job only
	Job     string `json:"job"`
	Step    string `json:"step"` // plan or shards
	Index   int    `json:"index"`
	Attempt int    `json:"attempt"` // 0: it, and the index, come from variables (see ReadConfig)

	// Only are the indexes of those that share this configuration, as Indexes
	// writes them: the n-th of these agents has the n-th index. "": all.
	Only string `json:"only,omitempty"`
}
