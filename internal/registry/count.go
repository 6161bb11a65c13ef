package registry

// Count returns how many models there are, but for retired ones.
func (r *Registry) Count() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	n := 0
	for i := range r.index.entries {
		if r.index.entries[i].retired == nil {
			n++
		}
	}
	return n
}
