// Package activity knows what versions did lately: what became of their calls,
// and how many replicas answered. Each server counts its own calls, in a
// Recorder; a Service adds up what all servers have counted.
//
// A version costs nothing before its first call. From then on it has slots of
// ten seconds, each only if there were calls in it, until an hour after its last
// call. Where they become many, those older than five minutes are made minutes.
package activity

import (
	"time"

	"modelmanager.dev"
)

// Call is what became of one call.
type Call struct {
	Took        time.Duration
	Status      int // that it was answered with; 0: the caller got no answer, or half of one
	Predictions int // rows that were predicted
	Invalid     int // of them, those that broke what the model declares
}

// failed tells whether a call counts as an error: the fault of the version or
// its platform, not the caller's.
func (c Call) failed() bool { return c.Status/100 == 5 }

// Counts is what became of some calls.
type Counts struct {
	Calls       int64   `json:"calls"`
	Errors      int64   `json:"errors,omitempty"`
	Predictions int64   `json:"predictions,omitempty"`
	Invalid     int64   `json:"invalid,omitempty"`
	Latency     Latency `json:"latency,omitempty"`
}

// Plus adds other calls.
func (c Counts) Plus(other Counts) Counts {
	return Counts{
		Calls: c.Calls + other.Calls, Errors: c.Errors + other.Errors,
		Predictions: c.Predictions + other.Predictions, Invalid: c.Invalid + other.Invalid,
		Latency: c.Latency.plus(other.Latency),
	}
}

// Public returns the counts as the API shows them.
func (c Counts) Public() modelmanager.CallCounts {
	return modelmanager.CallCounts{
		Calls: c.Calls, Errors: c.Errors, Predictions: c.Predictions, Invalid: c.Invalid,
		P50: milliseconds(c.Latency.Quantile(0.50)), P99: milliseconds(c.Latency.Quantile(0.99)),
	}
}

// milliseconds keeps three digits after the point, which is more than is known.
func milliseconds(d time.Duration) float64 { return float64(d.Round(time.Microsecond)) / 1e6 }

// Slot counts the calls of a span of time.
type Slot struct {
	At      int64 `json:"at"`      // when it begins: seconds since 1970
	Seconds int64 `json:"seconds"` // how long it is
	Counts
}
