package registry

import (
	"encoding/base64"
	"math/bits"
	"slices"
	"strings"

	"modelmanager.dev"
)

// Query selects models; empty fields select all.
type Query struct {
	Text      string            // words that must all occur in name, summary, owner or a label's value; case doesn't matter
	Owner     string            // exactly
	Labels    map[string]string // all of them, exactly
	Serve     modelmanager.Mode
	Retired   bool     // retired models too
	Among     []string // of these names alone; nil: of any
	But       []string // of none of these names
	Limit     int      // default 50, at most 1000
	PageToken string   // of the page before
}

// Page is a part of a list, by name. The token of the page after it stays
// good whatever is published or retired meanwhile: no model that stays in the
// list is missed or appears twice.
type Page struct {
	Models        []modelmanager.Model // of the history, the setting in force alone
	NextPageToken string               // "" on the last page
}

// Exact caps of a query's parts, beyond which it is refused.
const (
	maxText       = 1000 // bytes
	maxQueryWords = 20
)

// List returns the models that a query selects, by name. It answers from the
// index, which Run keeps.
func (r *Registry) List(query Query) (Page, error) {
	var page Page
	err := r.search(query, func(s search) { page = r.index.page(s) })
	return page, err
}

// search does something with a query and the index, while nothing changes.
func (r *Registry) search(query Query, do func(search)) error {
	s, err := newSearch(query)
	if err != nil {
		return err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.index.loading != nil {
		return modelmanager.Errorf(modelmanager.CodeUnavailable, "listing models: the registry is still being read; try again in a moment")
	}
	if query.Among != nil {
		s.among = r.index.slotsOf(query.Among)
	}
	if len(query.But) > 0 {
		s.but = r.index.slotsOf(query.But)
	}
	do(s)
	return nil
}

// slotsOf returns the slots of the models with these names.
func (x *index) slotsOf(names []string) slotSet {
	set := newSlotSet(len(x.entries))
	for _, name := range names {
		if slot, found := x.find(name); found {
			set.add(slot)
		}
	}
	return set
}

// search is a checked query.
type search struct {
	words []string // in lower case
	owner string
	label []string // key and value
	serve modes
	gone  bool    // retired models too
	among slotSet // nil: all
	but   slotSet // nil: none
	after string
	limit int
}

func newSearch(query Query) (search, error) {
	refuse := func(format string, args ...any) (search, error) {
		return search{}, modelmanager.Errorf(modelmanager.CodeBadRequest, "listing models: "+format, args...)
	}
	s := search{owner: query.Owner, gone: query.Retired, limit: pageLimit(query.Limit)}
	if len(query.Text) > maxText {
		return refuse("the text to search for is %d bytes long, the limit is %d", len(query.Text), maxText)
	}
	s.words = strings.Fields(strings.ReplaceAll(strings.ToLower(query.Text), "\x00", " "))
	slices.SortFunc(s.words, func(a, b string) int { return len(b) - len(a) }) // the rarer first
	if len(s.words) > maxQueryWords {
		return refuse("the text to search for has %d words, the limit is %d", len(s.words), maxQueryWords)
	}
	for key, value := range query.Labels {
		s.label = append(s.label, key+labelMark+value)
	}
	switch query.Serve {
	case "":
	case modelmanager.RealTime, modelmanager.Batch:
		s.serve = packModes([]modelmanager.Mode{query.Serve}) &^ batchFirst
	default:
		return refuse("models serve %s or %s, not %.40q", modelmanager.RealTime, modelmanager.Batch, query.Serve)
	}
	after, err := base64.RawURLEncoding.DecodeString(query.PageToken)
	if err != nil || query.PageToken != "" && !validName(string(after)) {
		return refuse("the page token isn't one that a list gave out")
	}
	s.after = string(after)
	return s, nil
}

// page collects a page. Where many models match, a walk along the names soon
// has one; where few do, the lists of who has what find them.
func (x *index) page(s search) Page {
	ordered := x.ordered(s)
	if s.all() {
		return x.walk(s, ordered, func(uint32) bool { return true })
	}
	first := ordered[:min(x.trial, len(ordered))]
	if slots, full := x.try(s, first); full || len(first) == len(ordered) {
		return x.walk(s, slots, func(uint32) bool { return true })
	}
	found := x.candidates(s)
	unsure := x.texts(s.unsure())
	if found.count() > x.trial {
		return x.walk(s, ordered, func(slot uint32) bool { return found.has(slot) && unsure.in(slot) })
	}
	return x.walk(s, x.sorted(found, s.after), unsure.in)
}

// ordered returns the shortest list of slots by name that has all that match,
// from the page's start on.
func (x *index) ordered(s search) []uint32 {
	slots := x.order
	narrow := func(with posting) {
		if len(with) < len(slots) {
			slots = with
		}
	}
	if s.owner != "" {
		narrow(x.owners.with(s.owner))
	}
	for _, label := range s.label {
		narrow(x.labels.with(label))
	}
	start, found := slices.BinarySearchFunc(slots, s.after, func(slot uint32, name string) int {
		return strings.Compare(x.names.at(slot), name)
	})
	if found {
		start++
	}
	return slots[start:]
}

// all tells whether nothing but listed decides which models match.
func (s search) all() bool {
	return len(s.words) == 0 && s.owner == "" && len(s.label) == 0 && s.among == nil
}

// unsure are the words of which candidates doesn't know whether they occur.
func (s search) unsure() []string { return slices.DeleteFunc(slices.Clone(s.words), isWord) }

// walk makes a page of the first slots that match and may be listed.
func (x *index) walk(s search, slots []uint32, matches func(uint32) bool) Page {
	var page Page
	chosen := make([]uint32, 0, min(s.limit, len(slots)))
	for _, slot := range slots {
		if !x.listed(s, slot) || !matches(slot) {
			continue
		}
		if len(chosen) == s.limit {
			page.NextPageToken = base64.RawURLEncoding.EncodeToString([]byte(x.names.at(chosen[s.limit-1])))
			break
		}
		chosen = append(chosen, slot)
	}
	page.Models = x.models(chosen)
	return page
}

func (x *index) listed(s search, slot uint32) bool {
	e := &x.entries[slot]
	return e.serve&s.serve == s.serve && (s.gone || e.retired == nil) && (s.but == nil || !s.but.has(slot))
}

// try looks at each of the slots, and tells whether they fill a page and more.
func (x *index) try(s search, slots []uint32) ([]uint32, bool) {
	owner, found := x.owners.ids[s.owner]
	if s.owner != "" && !found {
		return nil, true
	}
	labels := make([]uint32, 0, len(s.label))
	for _, label := range s.label {
		id, found := x.labels.ids[label]
		if !found {
			return nil, true
		}
		labels = append(labels, id)
	}
	var matching []uint32
	texts := x.texts(s.words)
	for _, slot := range slots {
		e := &x.entries[slot]
		if !x.listed(s, slot) || s.owner != "" && e.owner != owner || s.among != nil && !s.among.has(slot) {
			continue
		}
		if slices.ContainsFunc(labels, func(id uint32) bool { return !slices.Contains(e.labels, id) }) ||
			!texts.in(slot) {
			continue
		}
		matching = append(matching, slot)
		if len(matching) > s.limit {
			return matching, true
		}
	}
	return matching, false
}

// isWord tells whether what a search looks for is one word of the vocabulary's kind.
func isWord(s string) bool {
	parts := splitWords(s)
	return len(parts) == 1 && parts[0] == s
}

// candidates finds all slots that match names, owner and labels, and that have the
// words of the text that is searched for: all those that match, and more only
// where the text has other characters than letters and digits.
func (x *index) candidates(s search) slotSet {
	all := slotSet(nil)
	narrow := func(set slotSet) {
		if all == nil {
			all = set
		} else {
			all.intersect(set)
		}
	}
	if s.among != nil {
		narrow(slices.Clone(s.among))
	}
	if s.owner != "" {
		narrow(x.setOf(x.owners.with(s.owner)))
	}
	for _, label := range s.label {
		narrow(x.setOf(x.labels.with(label)))
	}
	for _, text := range s.words {
		for _, word := range splitWords(text) {
			set := newSlotSet(len(x.entries))
			x.words.text.containing(word, func(id uint32) { set.addAll(x.words.slots[id]) })
			narrow(set)
		}
	}
	if all == nil {
		all = newSlotSet(len(x.entries))
		for slot := range x.entries {
			all.add(uint32(slot))
		}
	}
	return all
}

func (x *index) setOf(slots posting) slotSet {
	set := newSlotSet(len(x.entries))
	set.addAll(slots)
	return set
}

// sorted returns the slots of a set whose names come after a name, by name.
func (x *index) sorted(set slotSet, after string) []uint32 {
	slots := make([]uint32, 0, set.count())
	for slot := range set.all {
		if x.names.at(slot) > after {
			slots = append(slots, slot)
		}
	}
	slices.SortFunc(slots, x.byName)
	return slots
}

// slotSet is a set of slots, one bit each.
type slotSet []uint64

func newSlotSet(slots int) slotSet { return make(slotSet, (slots+63)/64) }

func (s slotSet) add(slot uint32) { s[slot/64] |= 1 << (slot % 64) }

func (s slotSet) addAll(slots posting) {
	for _, slot := range slots {
		s.add(slot)
	}
}

func (s slotSet) has(slot uint32) bool { return s[slot/64]&(1<<(slot%64)) != 0 }

func (s slotSet) intersect(other slotSet) {
	for i := range s {
		s[i] &= other[i]
	}
}

func (s slotSet) count() int {
	n := 0
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

func (s slotSet) all(yield func(uint32) bool) {
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			if !yield(uint32(i*64 + bits.TrailingZeros64(word))) {
				return
			}
		}
	}
}
