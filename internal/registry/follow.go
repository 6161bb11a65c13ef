package registry

import (
	"time"

	"modelmanager.dev"
)

// mark orders the states of one model's record: every change raises Latest or
// the time of the newest setting, and lowers neither.
type mark struct {
	latest  int
	setting time.Time
}

func markOf(model modelmanager.Model) mark {
	return mark{model.Latest, model.Traffic().At}
}

func (m mark) before(other mark) bool {
	return m.latest < other.latest || m.setting.Before(other.setting)
}

// Subscribe calls tell for every model there is, then for each change, in
// order and one call at a time, until cancel is called. Models that were
// subscribed to before Run come as Run finds them. Of a model's history only
// the setting in force is there. tell must return quickly, and may read from
// the Registry but not write to it or subscribe.
func (r *Registry) Subscribe(tell func(modelmanager.Model)) (cancel func()) {
	s := &subscriber{tell}
	r.telling.Lock()
	defer r.telling.Unlock()
	r.mu.RLock()
	slots := len(r.index.entries)
	r.mu.RUnlock()
	for slot := range slots { // nothing changes while telling is held
		r.mu.RLock()
		model := r.index.model(uint32(slot))
		r.mu.RUnlock()
		tell(model)
	}
	r.subscribers[s] = struct{}{}
	return func() {
		r.telling.Lock()
		defer r.telling.Unlock()
		delete(r.subscribers, s)
	}
}

func (r *Registry) beginWatch() {
	r.telling.Lock()
	defer r.telling.Unlock()
	r.watches++
}

// observe takes in an event of the store.
func (r *Registry) observe(event Event) {
	r.telling.Lock()
	defer r.telling.Unlock()
	if event.Synced {
		r.synced()
		return
	}
	if own, found := r.written[event.Model.Name]; found {
		if markOf(event.Model).before(own.mark) {
			return // from before our own write, which the index holds already
		}
		delete(r.written, event.Model.Name)
	}
	r.tell(event.Model)
}

// synced: a whole round of events began after the writes of earlier watches,
// so whatever it told of their models is newer, even if it looks older: a
// restored backup.
func (r *Registry) synced() {
	for name, own := range r.written {
		if own.watch < r.watches {
			delete(r.written, name)
		}
	}
	r.mu.Lock()
	r.index.loaded()
	r.mu.Unlock()
	r.readyOnce.Do(func() { close(r.ready) })
}

// wrote puts our own write into the index ahead of Watch: whoever has
// published or moved traffic finds it so at once, on this replica.
func (r *Registry) wrote(model modelmanager.Model) {
	r.telling.Lock()
	defer r.telling.Unlock()
	if own, found := r.written[model.Name]; found && markOf(model).before(own.mark) {
		return
	}
	r.mu.RLock()
	known, found := r.index.find(model.Name)
	told := found && !r.index.mark(known).before(markOf(model))
	r.mu.RUnlock()
	if told {
		return // Watch was faster
	}
	if r.watches > 0 {
		r.written[model.Name] = write{markOf(model), r.watches}
	}
	r.tell(model)
}

// announced tells whether a record is a model for people to see: it has a
// version, or somebody has described it ahead of its first one, as an operator
// can where the store's records are objects of a cluster. A record that a
// publication left to claim the name is none.
func announced(model modelmanager.Model) bool {
	return model.Latest > 0 || model.Owner != "" || model.Summary != ""
}

// tell updates the index and calls the subscribers; telling is held.
func (r *Registry) tell(model modelmanager.Model) {
	if !announced(model) || !validName(model.Name) {
		return // claimed, and nothing published yet; or written by no registry
	}
	r.mu.Lock()
	slot, changed := r.index.put(model)
	r.mu.Unlock()
	if !changed || len(r.subscribers) == 0 {
		return
	}
	r.mu.RLock()
	told := r.index.model(slot)
	r.mu.RUnlock()
	for s := range r.subscribers {
		s.tell(told)
	}
}
