package registry

import (
	"iter"

	"modelmanager.dev"
)

// Indexed is a registry whose index a test fills by hand.
type Indexed struct{ *Registry }

// NewIndexed returns a registry that has been told of models by its store.
func NewIndexed(store Store, models iter.Seq[modelmanager.Model]) Indexed {
	x := Indexed{New(store, Options{})}
	for model := range models {
		x.observe(Event{Model: model})
	}
	x.observe(Event{Synced: true})
	return x
}

// Put tells of all models again.
func (x Indexed) Put(models map[string]modelmanager.Model) {
	for _, model := range models {
		x.observe(Event{Model: model})
	}
}

// SetTrial sets how many models a query looks at before it turns to the lists.
func (x Indexed) SetTrial(models int) { x.index.trial = models }
