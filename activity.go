package modelmanager

import "time"

// Activity is what runs at a moment, on all servers: GET /v1/activity.
type Activity struct {
	At time.Time `json:"at"`
	// KnownSince is when the server that was started last began to count: of what
	// was before, some calls may be missing.
	KnownSince time.Time `json:"known_since"`
	// Versions are those that aren't cold: that have replicas, or calls under
	// way, or were called in the last five minutes. By model, then by version.
	Versions []VersionActivity `json:"versions"`
	// Models is how many models there are, cold or not.
	Models int `json:"models"`
	// Incomplete says which servers didn't tell what they know; "" if all did.
	Incomplete string `json:"incomplete,omitempty"`
}

// VersionActivity is what a version does now, and what became of its calls in
// the last five minutes.
type VersionActivity struct {
	Model    string `json:"model"`
	Version  int    `json:"version"`
	Percent  int    `json:"percent"` // of its model's calls, that go to it now; 0: none but those by number
	Health   Health `json:"health"`
	Replicas int    `json:"replicas"`  // that answer
	Pending  int    `json:"pending"`   // replicas that don't answer: they start, stop or fail
	InFlight int    `json:"in_flight"` // calls that a replica works on
	Waiting  int    `json:"waiting"`   // calls that wait for a replica
	CallCounts
	LastCall *time.Time `json:"last_call,omitempty"` // nil: none in the last five minutes
}

// CallCounts is what became of real-time calls in some span of time. Latencies
// are those that callers saw, estimated to about a tenth.
type CallCounts struct {
	Calls       int64   `json:"calls"`
	Errors      int64   `json:"errors"`      // of them, those answered 5xx
	Predictions int64   `json:"predictions"` // rows that the model predicted
	Invalid     int64   `json:"invalid"`     // of them, those that break what the model declares
	P50         float64 `json:"p50_ms"`      // milliseconds; 0 without calls
	P99         float64 `json:"p99_ms"`
}

// ModelActivity is what a model's versions did in the last hour, on all
// servers: GET /v1/models/{model}/activity.
type ModelActivity struct {
	Model string `json:"model"`
	// From is where the first minute begins, To where the last one ends, which
	// is the minute under way.
	From       time.Time        `json:"from"`
	To         time.Time        `json:"to"`
	KnownSince time.Time        `json:"known_since"`          // as in Activity
	Versions   []VersionMinutes `json:"versions"`             // that did anything, by number
	Incomplete string           `json:"incomplete,omitempty"` // as in Activity
}

// VersionMinutes is a version's last hour.
type VersionMinutes struct {
	Version int              `json:"version"`
	Total   CallCounts       `json:"total"`
	Minutes []MinuteActivity `json:"minutes"` // oldest first; those in which nothing was are left out
}

// MinuteActivity is one minute of a version.
type MinuteActivity struct {
	At       time.Time `json:"at"`       // its beginning
	Replicas int       `json:"replicas"` // that answered, at most at a time
	CallCounts
}
