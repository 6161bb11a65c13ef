package modelmanager

import (
	"slices"
	"time"
)

// Traffic says which versions of a model answer. Percentages are whole and add
// up to 100; no version appears twice; a shadow gets a copy of the calls and
// its answers are never returned. A Traffic without versions answers nothing.
type Traffic struct {
	Versions []Share `json:"versions"`
	Shadow   int     `json:"shadow,omitempty"` // 0: none

	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by,omitempty"`
	At     time.Time `json:"at"`

	// Commit is the commit whose publication made this setting, where a
	// repository's pipeline did: an older commit's must not undo it.
	Commit string `json:"commit,omitempty"`

	// Back counts the roll-backs in a row that led here, so that one more goes
	// one further back; 0 for a setting that somebody chose.
	Back int `json:"back,omitempty"`
}

// TrafficInfo is a model's traffic as the API shows it: the setting, and
// whether it is in force.
type TrafficInfo struct {
	Traffic
	// Pending is there while another setting answers: that of before, until the
	// versions of this one are ready.
	Pending *Pending `json:"pending,omitempty"`
}

// Pending says who answers while a setting of traffic isn't in force yet.
type Pending struct {
	Answering []Share `json:"answering"` // by percent, as in Traffic
	Reason    string  `json:"reason"`    // what is waited for, in one sentence
}

// Now returns which versions answer now, and the shadow.
func (t TrafficInfo) Now() Traffic {
	now := Traffic{Versions: t.Versions, Shadow: t.Shadow}
	if t.Pending != nil {
		now.Versions = t.Pending.Answering
	}
	return now
}

// Share is a version's part of the traffic.
type Share struct {
	Version int `json:"version"`
	Percent int `json:"percent"` // 0 to 100
}

// Names tells whether a version answers under this setting, or is its shadow.
func (t Traffic) Names(version int) bool {
	return t.Shadow == version || slices.ContainsFunc(t.Versions, func(share Share) bool { return share.Version == version })
}

// Largest returns the version with the largest share, the newer of equals; 0
// if there is none.
func (t Traffic) Largest() int {
	best := Share{}
	for _, share := range t.Versions {
		if share.Percent > best.Percent || share.Percent == best.Percent && share.Version > best.Version {
			best = share
		}
	}
	return best.Version
}

// ByRollout is who makes the settings of canaries: nobody in person.
const ByRollout = "rollout"

// Canary returns the shares of a setting that is a step of a canary under way:
// that of the version before, and that of the new one, which grows step by step
// until it has all. A setting that anybody else made, or that was gone back to,
// is none: it stays as it is.
func (t Traffic) Canary() (before, version Share, ok bool) {
	if t.By != ByRollout || t.Back != 0 || len(t.Versions) != 2 {
		return Share{}, Share{}, false
	}
	return t.Versions[0], t.Versions[1], true
}

// All sends everything to one version.
func All(version int) Traffic {
	return Traffic{Versions: []Share{{Version: version, Percent: 100}}}
}
