package kube

import (
	"bytes"
	"sync"
)

// roster remembers the names of the models that watches told of, so that a
// later watch can tell which of them are gone meanwhile. It holds some thirty
// bytes a model.
type roster struct {
	mu    sync.Mutex
	names []byte              // each with a line feed behind it; some may be there twice
	gone  map[string]struct{} // of names, those that were deleted
}

// begin starts anew, and returns what was known.
func (r *roster) begin() (before []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before = r.names
	if len(r.gone) > 0 {
		before = nil
		for name := range bytes.Lines(r.names) {
			if _, gone := r.gone[string(bytes.TrimSuffix(name, newline))]; !gone {
				before = append(before, name...)
			}
		}
	}
	r.names, r.gone = nil, nil
	return before
}

var newline = []byte{'\n'}

// restore takes back what was known when a list fails half-way.
func (r *roster) restore(before []byte) {
	missing := r.missing(before)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range missing {
		r.names = append(append(r.names, name...), '\n')
	}
}

func (r *roster) add(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, back := r.gone[name]; back {
		delete(r.gone, name)
		return
	}
	r.names = append(append(r.names, name...), '\n')
}

func (r *roster) remove(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone == nil {
		r.gone = map[string]struct{}{}
	}
	r.gone[name] = struct{}{}
}

// missing returns the names of before that aren't known now.
func (r *roster) missing(before []byte) []string {
	if len(before) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	known := map[string]struct{}{}
	for name := range bytes.Lines(r.names) {
		known[string(name)] = struct{}{}
	}
	var missing []string
	for name := range bytes.Lines(before) {
		if _, found := known[string(name)]; !found {
			known[string(name)] = struct{}{}
			missing = append(missing, string(bytes.TrimSuffix(name, newline)))
		}
	}
	return missing
}
