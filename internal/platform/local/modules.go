package local

import (
	"encoding/json"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// noted is what a zygote is started with, as it is kept for the next server.
type noted struct {
	Python   string   `json:"python"`
	Hash     string   `json:"hash,omitempty"`     // of the environment
	Env      []string `json:"env"`                // of the zygote
	Modules  []string `json:"modules"`            // that models have imported, in order
	Excluded []string `json:"excluded,omitempty"` // of these, those that mustn't be imported beforehand
}

// mostModules bounds what one environment's models can have noted.
const mostModules = 20_000

// add takes modules in that are new, and tells whether any was.
func (n *noted) add(modules []string) bool {
	known := make(map[string]bool, len(n.Modules))
	for _, name := range n.Modules {
		known[name] = true
	}
	before := len(n.Modules)
	for _, name := range modules {
		if !known[name] && len(n.Modules) < mostModules {
			known[name] = true
			n.Modules = append(n.Modules, name)
		}
	}
	return len(n.Modules) > before
}

// wanted returns the modules to import: all but those that are excluded, with
// what is inside of them.
func (n *noted) wanted() []string {
	return slices.DeleteFunc(slices.Clone(n.Modules), func(name string) bool {
		return slices.ContainsFunc(n.Excluded, func(out string) bool {
			return name == out || strings.HasPrefix(name, out+".")
		})
	})
}

// moduleNotes keeps, for each zygote, what it is started with, in a file of
// its own. A file that can't be read or written costs time, no more.
type moduleNotes struct {
	dir    string
	logger *slog.Logger
}

func (m moduleNotes) path(key string) string { return filepath.Join(m.dir, key+".json") }

func (m moduleNotes) read(key string) noted {
	var n noted
	if data, err := os.ReadFile(m.path(key)); err == nil && json.Unmarshal(data, &n) != nil {
		return noted{}
	}
	return n
}

func (m moduleNotes) write(key string, n noted) {
	data, err := json.Marshal(n)
	if err == nil {
		temporary := m.path(key) + ".new"
		if err = os.WriteFile(temporary, data, 0o600); err == nil {
			err = os.Rename(temporary, m.path(key))
		}
	}
	if err != nil {
		m.logger.Warn("noting which modules models import", "error", err)
	}
}

// touch says that a zygote is in use.
func (m moduleNotes) touch(key string) {
	now := time.Now()
	_ = os.Chtimes(m.path(key), now, now) // there may be none yet
}

// recent returns what was in use within a time, the latest first, and no more
// than most; of environments that are still there.
func (m moduleNotes) recent(within time.Duration, most int) iter.Seq2[string, noted] {
	type entry struct {
		key  string
		used time.Time
	}
	var found []entry
	entries, _ := os.ReadDir(m.dir) // none is no news
	for _, e := range entries {
		key, ok := strings.CutSuffix(e.Name(), ".json")
		if info, err := e.Info(); ok && err == nil && time.Since(info.ModTime()) < within {
			found = append(found, entry{key, info.ModTime()})
		}
	}
	slices.SortFunc(found, func(a, b entry) int { return b.used.Compare(a.used) })
	return func(yield func(string, noted) bool) {
		for _, e := range found[:min(len(found), most)] {
			n := m.read(e.key)
			if _, err := os.Stat(n.Python); err == nil && !yield(e.key, n) {
				return
			}
		}
	}
}

// sweep removes notes that were not used for unused.
func (m moduleNotes) sweep(unused time.Duration) {
	entries, _ := os.ReadDir(m.dir) // none is no news
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) >= unused {
			_ = os.Remove(filepath.Join(m.dir, e.Name())) // it does no harm
		}
	}
}
