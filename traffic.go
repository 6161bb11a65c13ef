package modelmanager

import "time"

// Traffic says which versions of a model answer. Percentages are whole and add
// up to 100; no version appears twice; a shadow gets a copy of the calls and
// its answers are never returned. A Traffic without versions answers nothing.
type Traffic struct {
	Versions []Share `json:"versions"`
	Shadow   int     `json:"shadow,omitempty"` // 0: none

	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by,omitempty"`
	At     time.Time `json:"at"`

	// Back counts the roll-backs in a row that led here, so that one more goes
	// one further back; 0 for a setting that somebody chose.
	Back int `json:"back,omitempty"`
}

// Share is a version's part of the traffic.
type Share struct {
	Version int `json:"version"`
	Percent int `json:"percent"` // 0 to 100
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

// All sends everything to one version.
func All(version int) Traffic {
	return Traffic{Versions: []Share{{Version: version, Percent: 100}}}
}
