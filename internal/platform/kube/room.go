package kube

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// roomUnused is how long room that was made may stay empty before those for
	// whom it was made are found not to fit into it. The scheduler lets a pod
	// that it had no room for wait up to 10 s.
	roomUnused = 30 * time.Second
	// unfitFor is how long a step that didn't fit claims nothing.
	unfitFor = 2 * time.Minute
)

// room remembers, while pods wait, how many there were places for. It is a
// hint: a server that begins without it finds it out again.
type room struct {
	size  int
	free  time.Time // since when fewer than size have a place
	unfit map[types.UID]unfit
}

// unfit is a step that found no room where some was made.
type unfit struct {
	since  time.Time
	placed int // what it had then
}

// note takes in how the steps stand, marks those that don't fit, and returns
// how large the room is.
func (r *room) note(now time.Time, uids []types.UID, steps []turn) int {
	placed, waiting := 0, false
	for _, s := range steps {
		placed += s.placed - s.ending // another pod may be in its place already
		waiting = waiting || s.waiting > 0
	}
	if !waiting {
		*r = room{size: placed}
		return placed
	}
	if placed >= r.size {
		r.size, r.free = placed, time.Time{}
	} else if r.free.IsZero() {
		r.free = now
	}
	r.mark(now, uids, steps)
	if !r.free.IsZero() && now.Sub(r.free) >= roomUnused {
		shares := fairShares(r.size, steps)
		for i := range steps {
			if steps[i].short(shares[i]) {
				r.unfit[uids[i]] = unfit{since: now, placed: steps[i].placed}
				steps[i].unfit = true
			}
		}
		r.size, r.free = placed, time.Time{}
	}
	return r.size
}

// mark marks the steps that did not fit, and forgets those that have found
// room since, or have claimed nothing for long enough.
func (r *room) mark(now time.Time, uids []types.UID, steps []turn) {
	still := make(map[types.UID]unfit, len(r.unfit))
	for i, uid := range uids {
		if u, ok := r.unfit[uid]; ok && steps[i].placed <= u.placed && now.Sub(u.since) < unfitFor {
			still[uid], steps[i].unfit = u, true
		}
	}
	r.unfit = still
}
