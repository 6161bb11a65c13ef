package registry

import (
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"modelmanager.dev"
)

// index holds what List and Subscribe need of every model, in a few hundred
// bytes each. A model keeps its slot for ever: models are retired, not
// removed. Strings that many models share are kept once.
type index struct {
	entries []entry
	order   []uint32 // slots by name, once loaded
	loading map[string]uint32
	names   text  // all names, by slot
	owners  table // of exact owners
	labels  table // of exact labels, key and value
	words   words
	shared  map[string]string // other strings that many models share
	trial   int               // models that a query looks at one by one before it turns to the lists
	active  int               // models that aren't retired

	talliesMu sync.Mutex // of who only reads the index
	tallies   map[tallyKey]Tally
}

// entry is a model, compactly. Its name is in index.names.
type entry struct {
	summary    string
	repository string
	labels     []uint32
	live       *modelmanager.Traffic
	retired    *modelmanager.Change
	created    int64 // nanoseconds since 1970
	owner      uint32
	latest     int32
	serve      modes
}

const labelMark = "\x00" // between a label's key and its value

// modes is a set of ways to ask a model, in their order.
type modes uint8

const (
	servesRealTime modes = 1 << iota
	servesBatch
	batchFirst // in the order of the spec
)

func newIndex() *index {
	return &index{
		loading: map[string]uint32{},
		owners:  newTable(),
		labels:  newTable(),
		words:   newWords(),
		shared:  map[string]string{},
		trial:   256,
		tallies: map[tallyKey]Tally{},
	}
}

// find returns a model's slot.
func (x *index) find(name string) (uint32, bool) {
	if x.loading != nil {
		slot, found := x.loading[name]
		return slot, found
	}
	at := x.position(name)
	if at < len(x.order) && x.names.at(x.order[at]) == name {
		return x.order[at], true
	}
	return 0, false
}

// position returns where a name is, or would be, in the order of names.
func (x *index) position(name string) int {
	return sort.Search(len(x.order), func(i int) bool { return x.names.at(x.order[i]) >= name })
}

// byName compares two slots by their models' names.
func (x *index) byName(a, b uint32) int { return strings.Compare(x.names.at(a), x.names.at(b)) }

// loaded sorts what was put so far, and gives back the room for growth.
func (x *index) loaded() {
	if x.loading == nil {
		return
	}
	x.order = make([]uint32, len(x.entries), len(x.entries)+len(x.entries)/16+16)
	for slot := range x.order {
		x.order[slot] = uint32(slot)
	}
	slices.SortFunc(x.order, x.byName)
	x.loading = nil
	x.owners.empty()
	x.labels.empty()
	for _, slot := range x.order {
		e := &x.entries[slot]
		x.owners.slots[e.owner] = append(x.owners.slots[e.owner], slot)
		for _, label := range e.labels {
			x.labels.slots[label] = append(x.labels.slots[label], slot)
		}
	}
	x.entries = slices.Clone(x.entries)
	x.names.clip()
	x.owners.clip()
	x.labels.clip()
	x.words.clip()
}

// put enters a model's present state, and tells whether anything that the
// index keeps has changed.
func (x *index) put(model modelmanager.Model) (slot uint32, changed bool) {
	slot, found := x.find(model.Name)
	if !found {
		slot = x.add(model.Name)
	}
	old := x.entries[slot]
	text := searchText(model)
	if found {
		if sameEntry(x.model(slot), model) {
			return slot, false
		}
		if before := searchText(x.model(slot)); before != text {
			x.words.remove(slot, before)
			x.words.add(slot, text)
		}
	} else {
		x.words.add(slot, text)
	}
	e := entry{
		summary:    strings.Clone(model.Summary),
		repository: x.share(model.Repository),
		created:    model.Created.UnixNano(),
		latest:     int32(model.Latest),
		serve:      packModes(model.Serve),
		owner:      x.owners.id(model.Owner),
		live:       x.setting(model),
	}
	if model.Retired != nil {
		e.retired = &modelmanager.Change{
			By: x.share(model.Retired.By), At: model.Retired.At, Reason: strings.Clone(model.Retired.Reason),
		}
	}
	for _, key := range slices.Sorted(maps.Keys(model.Labels)) {
		e.labels = append(e.labels, x.labels.id(key+labelMark+model.Labels[key]))
	}
	e.labels = slices.Clip(e.labels)
	if old.summary == e.summary {
		e.summary = old.summary
	}
	x.refile(slot, old, e, found)
	if found && old.retired == nil {
		x.active--
	}
	if e.retired == nil {
		x.active++
	}
	x.entries[slot] = e
	clear(x.tallies)
	return slot, true
}

// refile moves a slot between the lists of the owners and labels it has.
func (x *index) refile(slot uint32, old, e entry, found bool) {
	if !found || old.owner != e.owner {
		if found {
			x.owners.remove(old.owner, slot)
		}
		x.file(&x.owners, e.owner, slot)
	}
	for _, label := range old.labels {
		if !slices.Contains(e.labels, label) {
			x.labels.remove(label, slot)
		}
	}
	for _, label := range e.labels {
		if !found || !slices.Contains(old.labels, label) {
			x.file(&x.labels, label, slot)
		}
	}
}

// file adds a slot to those that have a value, in its place by name once all
// models are loaded.
func (x *index) file(t *table, value, slot uint32) {
	slots := t.slots[value]
	at := len(slots)
	if x.loading == nil {
		at, _ = slices.BinarySearchFunc(slots, slot, x.byName)
	}
	t.slots[value] = slices.Insert(slots, at, slot)
}

// add gives a new name its slot.
func (x *index) add(name string) uint32 {
	slot := x.names.append(name)
	x.entries = append(x.entries, entry{})
	if x.loading != nil {
		x.loading[strings.Clone(name)] = slot
	} else {
		x.order = slices.Insert(x.order, x.position(name), slot)
	}
	return slot
}

func (x *index) setting(model modelmanager.Model) *modelmanager.Traffic {
	if len(model.History) == 0 {
		return nil
	}
	live := model.History[0]
	live.By, live.Reason = x.share(live.By), x.share(live.Reason)
	live.Versions = slices.Clip(slices.Clone(live.Versions))
	return &live
}

// share keeps one copy of short strings that many models have in common.
func (x *index) share(s string) string {
	if len(s) == 0 {
		return ""
	}
	if kept, found := x.shared[s]; found {
		return kept
	}
	s = strings.Clone(s)
	if len(x.shared) < 1<<16 {
		x.shared[s] = s
	}
	return s
}

// model returns what the index keeps of a model: of its history, the setting
// in force. The caller may keep and change it.
func (x *index) model(slot uint32) modelmanager.Model { return x.models([]uint32{slot})[0] }

// models is model of many slots. What all of them have, the names, settings and
// shares, is allocated once for all.
func (x *index) models(slots []uint32) []modelmanager.Model {
	if len(slots) == 0 {
		return nil
	}
	length, shares := 0, 0
	for _, slot := range slots {
		length += len(x.names.at(slot))
		if live := x.entries[slot].live; live != nil {
			shares += len(live.Versions)
		}
	}
	var names strings.Builder
	names.Grow(length)
	for _, slot := range slots {
		names.WriteString(x.names.at(slot))
	}
	name := names.String()
	settings := make([]modelmanager.Traffic, 0, len(slots))
	versions := make([]modelmanager.Share, 0, shares)
	serve := make([]modelmanager.Mode, 0, 2*len(slots))
	models := make([]modelmanager.Model, len(slots))
	for i, slot := range slots {
		e, model := &x.entries[slot], &models[i]
		length := len(x.names.at(slot))
		model.Name, name = name[:length], name[length:]
		model.Summary = e.summary
		model.Owner = x.owners.value(e.owner)
		serve = e.serve.unpack(serve)
		model.Serve, serve = slices.Clip(serve), serve[len(serve):]
		model.Repository = e.repository
		model.Latest = int(e.latest)
		model.Created = time.Unix(0, e.created).UTC()
		if len(e.labels) > 0 {
			model.Labels = make(map[string]string, len(e.labels))
			for _, label := range e.labels {
				key, value, _ := strings.Cut(x.labels.value(label), labelMark)
				model.Labels[key] = value
			}
		}
		if e.live != nil {
			settings = append(settings, *e.live)
			last := len(settings) - 1
			versions = append(versions, e.live.Versions...)
			settings[last].Versions, versions = slices.Clip(versions), versions[len(versions):]
			model.History, settings = slices.Clip(settings), settings[last+1:]
		}
		if e.retired != nil {
			retired := *e.retired
			model.Retired = &retired
		}
	}
	return models
}

// mark returns the mark of what the index holds of a model.
func (x *index) mark(slot uint32) mark {
	e := &x.entries[slot]
	m := mark{latest: int(e.latest)}
	if e.live != nil {
		m.setting = e.live.At
	}
	return m
}

// liveNames yields the name of every model that isn't retired. A name is
// valid during the call alone.
func (x *index) liveNames(yield func(string) bool) {
	for slot := range x.entries {
		if x.entries[slot].retired == nil && !yield(x.names.at(uint32(slot))) {
			return
		}
	}
}

// sameEntry tells whether a model is what the index knows already.
func sameEntry(known, model modelmanager.Model) bool {
	if known.Summary != model.Summary || known.Owner != model.Owner || known.Repository != model.Repository ||
		known.Latest != model.Latest || !known.Created.Equal(model.Created) ||
		!slices.Equal(known.Serve, model.Serve) || !maps.Equal(known.Labels, model.Labels) ||
		(known.Retired == nil) != (model.Retired == nil) || (len(known.History) == 0) != (len(model.History) == 0) {
		return false
	}
	if known.Retired != nil && !sameChange(*known.Retired, *model.Retired) {
		return false
	}
	a, b := known.Traffic(), model.Traffic()
	return slices.Equal(a.Versions, b.Versions) && a.Shadow == b.Shadow && a.Back == b.Back &&
		sameChange(modelmanager.Change{By: a.By, At: a.At, Reason: a.Reason}, modelmanager.Change{By: b.By, At: b.At, Reason: b.Reason})
}

func sameChange(a, b modelmanager.Change) bool {
	return a.By == b.By && a.Reason == b.Reason && a.At.Equal(b.At)
}

func packModes(serve []modelmanager.Mode) modes {
	var packed modes
	for i, mode := range serve {
		switch mode {
		case modelmanager.RealTime:
			packed |= servesRealTime
		case modelmanager.Batch:
			packed |= servesBatch
			if i == 0 {
				packed |= batchFirst
			}
		}
	}
	return packed
}

// unpack appends the modes of a set.
func (m modes) unpack(serve []modelmanager.Mode) []modelmanager.Mode {
	batchToo := m&servesBatch != 0
	if batchToo && m&batchFirst != 0 {
		serve, batchToo = append(serve, modelmanager.Batch), false
	}
	if m&servesRealTime != 0 {
		serve = append(serve, modelmanager.RealTime)
	}
	if batchToo {
		serve = append(serve, modelmanager.Batch)
	}
	return serve
}

// searchText is what a search looks through, in lower case.
func searchText(model modelmanager.Model) string {
	var b strings.Builder
	b.WriteString(model.Name)
	b.WriteByte(' ')
	b.WriteString(model.Summary)
	b.WriteByte(' ')
	b.WriteString(model.Owner)
	for _, key := range slices.Sorted(maps.Keys(model.Labels)) {
		b.WriteByte(' ')
		b.WriteString(model.Labels[key])
	}
	return strings.ToLower(b.String())
}
