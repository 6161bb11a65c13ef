package gateway

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"modelmanager.dev"
)

// draw picks a version at random, by percent.
func draw(split []weight) *version {
	total := 0
	for _, w := range split {
		total += w.percent
	}
	at := rand.IntN(total)
	for _, w := range split {
		if at -= w.percent; at < 0 {
			return w.version
		}
	}
	return split[len(split)-1].version
}

// stick picks the version that a key belongs to, by weighted rendezvous: every
// version draws a number for the key, and the highest wins. A change of
// percentages moves no more keys than it must, and moving back moves the same
// ones back; every server picks the same.
func stick(split []weight, model, key string) *version {
	var best *version
	highest := math.Inf(-1)
	for _, w := range split {
		point := (float64(pointOf(model, key, w.version.ref.Version)>>11) + 0.5) / (1 << 53)
		if score := float64(w.percent) / -math.Log(point); score > highest {
			best, highest = w.version, score
		}
	}
	return best
}

// pointOf is FNV-1a over model, key and version, mixed by the finalizer of
// SplitMix64 since FNV's high bits depend too little on its last bytes. It is
// part of the contract that servers of different releases agree on it.
func pointOf(model, key string, version int) uint64 {
	const prime = 1099511628211
	h := uint64(14695981039346656037)
	for i := range len(model) {
		h = (h ^ uint64(model[i])) * prime
	}
	h = (h ^ 0xff) * prime // no byte of a name
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * prime
	}
	for i := range 8 {
		h = (h ^ uint64(version)>>(8*i)&0xff) * prime
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// readiness tells of a model's versions.
type readiness struct {
	ready, failed func(version int) bool
}

// holdFor bounds for how long after a change a gateway that didn't see it
// happen believes that the new versions are still starting, rather than idle.
const holdFor = 10 * time.Minute

// inForce decides which setting of traffic answers: a new one takes over only
// when all its versions are ready, as long as the one before can answer. A
// version that can't start therefore never takes a model down: the old one
// goes on, and held says that the change is pending. Where nothing else runs,
// the new setting is in force at once, and calls wait for it. before is what
// was in force so far; nil if this gateway has only just met the model.
func inForce(history []modelmanager.Traffic, before *modelmanager.Traffic, now time.Time, is readiness) (setting modelmanager.Traffic, held bool) {
	wanted := history[0]
	shares := func(t modelmanager.Traffic) []modelmanager.Share {
		return slices.DeleteFunc(slices.Clone(t.Versions), func(s modelmanager.Share) bool { return s.Percent <= 0 })
	}
	notReady := func(s modelmanager.Share) bool { return !is.ready(s.Version) }
	answers := func(t modelmanager.Traffic) bool {
		return slices.ContainsFunc(shares(t), func(s modelmanager.Share) bool { return is.ready(s.Version) })
	}
	if !slices.ContainsFunc(shares(wanted), notReady) {
		return wanted, false
	}
	if before != nil && len(before.Versions) > 0 {
		if slices.Equal(shares(*before), shares(wanted)) {
			return wanted, false
		}
		if answers(*before) {
			return *before, true
		}
		return wanted, false
	}
	failed := slices.ContainsFunc(shares(wanted), func(s modelmanager.Share) bool { return is.failed(s.Version) })
	if now.Sub(wanted.At) > holdFor && !failed {
		return wanted, false
	}
	for _, older := range history[1:] {
		if answers(older) {
			return older, true
		}
	}
	return wanted, false
}
