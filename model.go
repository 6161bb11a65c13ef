package modelmanager

import "time"

// Mode is a way of asking a model.
type Mode string

// The two modes, as `serve` in model.yaml lists them.
const (
	RealTime Mode = "realtime"
	Batch    Mode = "batch"
)

// Model is a named question with its versions and its traffic: what the
// registry keeps of it. Summary, Owner, Labels and Serve are those of the
// version with the largest share of traffic (of the latest, before any has).
type Model struct {
	Name    string            `json:"name"` // a DNS label of at most 40 characters
	Summary string            `json:"summary,omitempty"`
	Owner   string            `json:"owner,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Serve   []Mode            `json:"serve,omitempty"`

	Repository string    `json:"repository,omitempty"` // the source repository that owns the name
	Latest     int       `json:"latest"`               // the highest number given
	Created    time.Time `json:"created"`
	Retired    *Change   `json:"retired,omitempty"`

	// History holds the last 20 settings of traffic, newest first.
	History []Traffic `json:"history,omitempty"`

	// Dropped are the numbers of old versions that are kept no longer, and
	// Dropping of those that are being removed. Neither can take traffic.
	Dropped  Numbers `json:"dropped,omitempty"`
	Dropping Numbers `json:"dropping,omitempty"`
}

// Traffic returns the setting in force; the zero Traffic before the first.
func (m Model) Traffic() Traffic {
	if len(m.History) == 0 {
		return Traffic{}
	}
	return m.History[0]
}

// Change records who changed something, when and why.
type Change struct {
	By     string    `json:"by,omitempty"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"`
}

// Health is a model's or a version's state, with the reason in one sentence.
type Health struct {
	State  HealthState `json:"state"`
	Reason string      `json:"reason,omitempty"`
}

// HealthState is one of the states below.
type HealthState string

// A healthy version answers, and Reason may say what is odd about it all the
// same; an idle one has no replica and would start one;
// a starting one has replicas, none of them ready yet; an unhealthy one can't
// answer, and Reason says why; a degraded one answers, though a replica or some
// calls fail.
const (
	Healthy   HealthState = "healthy"
	Idle      HealthState = "idle"
	Starting  HealthState = "starting"
	Degraded  HealthState = "degraded"
	Unhealthy HealthState = "unhealthy"
	Unknown   HealthState = "unknown"
)
