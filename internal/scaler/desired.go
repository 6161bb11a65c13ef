// Package scaler says how many replicas a version should have, with a pure
// function, and applies it, with a loop that only one server runs.
package scaler

import (
	"math"
	"time"

	"modelmanager.dev/internal/spec"
)

// Observation is what is known of a version at one moment.
type Observation struct {
	Scale spec.Scale
	Live  bool // it has a share of the traffic, or is about to, or has it until others are ready, or is a shadow
	// Past says that nobody calls it, or will roll back to it: its model answers
	// no more, or other versions have lost the traffic since it did.
	Past bool

	Current int // replicas it has or is getting
	Load    int // requests under way and waiting, at this moment, everywhere

	Stable float64 // average Load over StableWindow
	Panic  float64 // average Load over PanicWindow
	// Panicked is when Panic last was far above what Current can take.
	Panicked time.Time

	// LastUse is when the version was last needed: the last call anywhere, the
	// end of its traffic, the start of this observer.
	LastUse time.Time
	// Unknown says that somebody who may have calls for it couldn't be asked.
	Unknown bool
}

// Windows over which load is averaged, and how far the short one must exceed
// what the replicas aim at to be believed at once.
const (
	StableWindow = time.Minute
	PanicWindow  = 6 * time.Second
	panicFactor  = 2
)

// A replica is taken away only if the others would be at most this full, so
// that a load beside a border doesn't make replicas come and go.
const fullness = 0.8

// Desired says how many replicas a version should have. Load decides, in units
// of scale.concurrency: its average over a minute, or over a few seconds when
// it soars, after which nothing is taken away for a minute. One replica stays
// until the version has been idle for scale.idle, everywhere; of one that is past
// none stays. The result lies within scale.min (of live versions) and scale.max,
// and never is zero while a request is waiting or under way.
func Desired(now time.Time, o Observation) int {
	if o.Past && o.Load == 0 && !o.Unknown {
		return 0
	}
	floor, ceiling := 0, max(o.Scale.Max, 1)
	if o.Live {
		floor = min(max(o.Scale.Min, 0), ceiling)
	}
	want := replicasFor(o.Stable, o.Scale, 1)
	if keep := replicasFor(o.Stable, o.Scale, fullness); keep > want {
		want = max(want, min(o.Current, keep))
	}
	if soars(o) {
		want = max(want, replicasFor(o.Panic, o.Scale, 1))
	}
	if o.Unknown || !o.Panicked.IsZero() && now.Sub(o.Panicked) < StableWindow {
		want = max(want, o.Current)
	}
	switch {
	case o.Load > 0:
		want = max(want, 1)
	case want == 0 || o.Stable == 0:
		if o.Current > 0 && now.Sub(o.LastUse) < time.Duration(o.Scale.Idle) {
			want = max(want, 1)
		}
	default:
		want = max(want, min(o.Current, 1))
	}
	return min(max(want, floor), ceiling)
}

// soars tells whether load is far above what the replicas aim at.
func soars(o Observation) bool {
	return o.Panic >= panicFactor*float64(max(o.Current, 1)*concurrency(o.Scale))
}

func replicasFor(load float64, scale spec.Scale, fullness float64) int {
	n := math.Ceil(load/(float64(concurrency(scale))*fullness) - 1e-9)
	return int(min(max(n, 0), 1e6))
}

func concurrency(scale spec.Scale) int { return max(scale.Concurrency, 1) }
