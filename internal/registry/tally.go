package registry

import (
	"cmp"
	"slices"
	"strings"
)

// Tally counts models.
type Tally struct {
	Models int
	Owners []Counted // the most frequent first
	Labels []Counted // alike
}

// Counted is an owner or a label, and how many models have it.
type Counted struct {
	Name   string // of a label
	Value  string
	Models int
}

// Tally counts all models that a query selects, whatever its limit and its page
// token, and names the most frequent of their owners and labels, so many of
// each at most. It answers from the index, as List does. Its lists are shared:
// nobody may change them.
func (r *Registry) Tally(query Query, most int) (Tally, error) {
	query.PageToken, query.Limit = "", 0
	var tally Tally
	err := r.search(query, func(s search) { tally = r.index.tally(s, most) })
	return tally, err
}

// tallyKey tells tallies of the whole list from each other.
type tallyKey struct {
	serve modes
	gone  bool
	most  int
}

// maxTallies bounds the tallies that are kept.
const maxTallies = 16

// tally counts what a search selects. That of the whole list, which everybody
// sees first, is kept until a model changes.
func (x *index) tally(s search, most int) Tally {
	if !s.all() || s.but != nil {
		return x.count(s, most)
	}
	key := tallyKey{s.serve, s.gone, most}
	x.talliesMu.Lock()
	tally, known := x.tallies[key]
	x.talliesMu.Unlock()
	if known {
		return tally
	}
	tally = x.count(s, most)
	x.talliesMu.Lock()
	defer x.talliesMu.Unlock()
	if len(x.tallies) >= maxTallies {
		clear(x.tallies)
	}
	x.tallies[key] = tally
	return tally
}

func (x *index) count(s search, most int) Tally {
	owners, labels := make([]int, len(x.owners.values)), make([]int, len(x.labels.values))
	models := 0
	count := func(slot uint32) {
		e := &x.entries[slot]
		models++
		owners[e.owner]++
		for _, label := range e.labels {
			labels[label]++
		}
	}
	if s.all() {
		for slot := range uint32(len(x.entries)) {
			if x.listed(s, slot) {
				count(slot)
			}
		}
	} else {
		unsure := x.texts(s.unsure())
		for slot := range x.candidates(s).all {
			if x.listed(s, slot) && unsure.in(slot) {
				count(slot)
			}
		}
	}
	return Tally{Models: models, Owners: mostFrequent(owners, x.owners.value, most), Labels: mostFrequent(labels, x.labels.value, most)}
}

// mostFrequent names what was counted most; equals by their text.
func mostFrequent(counts []int, value func(uint32) string, most int) []Counted {
	var found []Counted
	least := 0 // of those that may still be among the most frequent
	trim := func() {
		slices.SortFunc(found, func(a, b Counted) int {
			return cmp.Or(cmp.Compare(b.Models, a.Models), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Value, b.Value))
		})
		if len(found) > most {
			found = found[:most]
			if most > 0 {
				least = found[most-1].Models
			}
		}
	}
	for id, models := range counts {
		if models == 0 || models < least || most == 0 {
			continue
		}
		name, text, labelled := strings.Cut(value(uint32(id)), labelMark)
		if !labelled {
			name, text = "", name
		}
		if text == "" && name == "" {
			continue // models without an owner
		}
		if found = append(found, Counted{Name: name, Value: text, Models: models}); len(found) > 16*most {
			trim()
		}
	}
	trim()
	return found
}
