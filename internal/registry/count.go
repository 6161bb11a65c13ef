package registry

// Count returns how many models there are, but for retired ones.
func (r *Registry) Count() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.index.active
}
