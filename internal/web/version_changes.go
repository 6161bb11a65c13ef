package web

import (
	"sync"

	"modelmanager.dev/internal/spec"
)

// versionChanges is what changed with a version.
type versionChanges struct {
	Changes  []string // in words, the first few
	More     int      // beside them
	Breaking bool
	SameSpec bool
}

// maxChanges is how many changes of a version a list writes out.
const maxChanges = 3

func changesOf(changes spec.Changes) versionChanges {
	known := versionChanges{Breaking: changes.Breaking(), SameSpec: len(changes) == 0, More: max(0, len(changes)-maxChanges)}
	for _, change := range changes[:min(len(changes), maxChanges)] {
		known.Changes = append(known.Changes, change.Message)
	}
	return known
}

// knownChanges bounds how many versions' changes are remembered; the map starts
// anew when it is full.
const knownChanges = 2000

// changesMemory remembers what changed between two versions, by their digests.
// Neither ever changes, and to find it out takes long where there are hundreds
// of features.
type changesMemory struct {
	mu    sync.Mutex
	known map[[2]string]versionChanges
}

func (m *changesMemory) get(from, to string) (versionChanges, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	changes, found := m.known[[2]string{from, to}]
	return changes, found
}

func (m *changesMemory) keep(from, to string, changes versionChanges) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || len(m.known) >= knownChanges {
		m.known = map[[2]string]versionChanges{}
	}
	m.known[[2]string{from, to}] = changes
}
