package agent

import "time"

// Paths that an agent serves to its gateway, on a Unix socket or a TCP port.
// Callers send "Authorization: Bearer KEY", the key of the agent's version.
const (
	PathPredict = "/predict" // POST; the body is the client's own, so is the answer
	PathStatus  = "/load"    // GET; Status as JSON
	PathHealth  = "/healthz" // GET; 200 once ready, else 503; needs no key
)

// HeaderTimeout carries what is left of the caller's deadline, in whole
// milliseconds; an agent gives up, and says 504, when it has passed.
const HeaderTimeout = "Mm-Timeout-Ms"

// Headers of an agent's answer, for its gateway alone: how many rows the model
// predicted, and how many of those predictions broke what it declares, if any.
const (
	HeaderPredicted = "Mm-Predicted"
	HeaderInvalid   = "Mm-Invalid"
)

// Stage is how far a replica has come. The first three come from the platform,
// the others from the agent itself.
type Stage string

// Stages, in order. A failed replica's worker can't be started, or keeps dying;
// the agent tries again with back-off.
const (
	StageScheduling Stage = "scheduling"
	StagePulling    Stage = "pulling"   // the image, or the artifact
	StagePreparing  Stage = "preparing" // building the environment
	StageStarting   Stage = "starting"  // the agent
	StageLoading    Stage = "loading"   // the worker: its imports, its model
	StageReady      Stage = "ready"
	StageFailed     Stage = "failed"
	StageStopping   Stage = "stopping" // finishes what it has, takes no more
)

// Status is what an agent says of itself.
type Status struct {
	Stage    Stage     `json:"stage"`
	Reason   string    `json:"reason,omitempty"` // one sentence: why it failed; of StageReady, what is wrong all the same
	Remark   string    `json:"remark,omitempty"` // of StageReady, one sentence: what is odd, though nothing is wrong
	InFlight int       `json:"in_flight"`        // requests in the worker
	Waiting  int       `json:"waiting"`          // requests in the agent's queue
	Calls    int64     `json:"calls"`            // requests answered so far
	LastCall time.Time `json:"last_call"`        // zero before the first
	Restarts int       `json:"restarts"`         // of the worker
	PID      int       `json:"pid,omitempty"`    // of the worker
	Memory   int64     `json:"memory,omitempty"` // bytes resident, the worker's process group
}

// Exit codes of an agent that runs a shard.
const (
	ExitModelFault   = 10 // the model's fault: this shard fails, trying again is no use
	ExitStorageFault = 11 // storage's or the network's fault: try again
)
