package registry

import (
	"slices"
	"strings"
	"unicode"
	"unsafe"
)

// text is a list of strings in one piece of memory, which a search can scan
// in one go. Strings are only ever appended, and hold no zero byte.
type text struct {
	bytes []byte
	ends  []uint32 // where each string ends; a zero byte follows
}

// append adds a string and returns its number.
func (t *text) append(s string) uint32 {
	t.bytes = append(t.bytes, s...)
	t.ends = append(t.ends, uint32(len(t.bytes)))
	t.bytes = append(t.bytes, 0)
	return uint32(len(t.ends) - 1)
}

// at returns string i, without copying it: it may live on when t has moved to
// a larger piece of memory, and then keeps the smaller one alive.
func (t *text) at(i uint32) string {
	start := uint32(0)
	if i > 0 {
		start = t.ends[i-1] + 1
	}
	return view(t.bytes[start:t.ends[i]])
}

// view reads bytes that never change as a string.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func (t *text) clip() {
	t.bytes = slices.Clone(t.bytes)
	t.ends = slices.Clone(t.ends)
}

// containing yields the number of every string that contains part, which
// holds no zero byte and isn't empty.
func (t *text) containing(part string, yield func(uint32)) {
	all := view(t.bytes)
	number := 0
	for from := 0; from < len(all); {
		at := strings.Index(all[from:], part)
		if at < 0 {
			return
		}
		number = nextEnd(t.ends, number, uint32(from+at))
		yield(uint32(number))
		from = int(t.ends[number]) + 1
		number++
	}
}

// nextEnd returns the first index from start on whose end lies behind at, in
// steps that double: matches are mostly near each other or far apart.
func nextEnd(ends []uint32, start int, at uint32) int {
	low, high, step := start, start, 1
	for high < len(ends) && ends[high] <= at {
		low = high + 1
		high += step
		step *= 2
	}
	high = min(high, len(ends))
	i, _ := slices.BinarySearchFunc(ends[low:high], at, func(end, at uint32) int {
		if end <= at {
			return -1
		}
		return 1
	})
	return low + i
}

// table numbers strings, and lists the slots that have each, by name once all
// models are loaded.
type table struct {
	ids    map[string]uint32
	values []string
	slots  []posting
}

// posting is a list of slots.
type posting []uint32

func newTable() table { return table{ids: map[string]uint32{}} }

func (t *table) id(value string) uint32 {
	if id, found := t.ids[value]; found {
		return id
	}
	id := uint32(len(t.values))
	value = strings.Clone(value)
	t.ids[value] = id
	t.values = append(t.values, value)
	t.slots = append(t.slots, nil)
	return id
}

func (t *table) value(id uint32) string { return t.values[id] }

func (t *table) remove(id, slot uint32) {
	if at := slices.Index(t.slots[id], slot); at >= 0 {
		t.slots[id] = slices.Delete(t.slots[id], at, at+1)
	}
}

// empty takes all slots out, and keeps their room.
func (t *table) empty() {
	for id := range t.slots {
		t.slots[id] = t.slots[id][:0]
	}
}

func (p posting) without(slot uint32) posting {
	if at := slices.Index(p, slot); at >= 0 {
		p[at] = p[len(p)-1]
		return p[:len(p)-1]
	}
	return p
}

// with returns the slots that have a value.
func (t *table) with(value string) posting {
	if id, found := t.ids[value]; found {
		return t.slots[id]
	}
	return nil
}

func (t *table) clip() {
	for i, slots := range t.slots {
		if cap(slots) > len(slots)+len(slots)/8 {
			t.slots[i] = slices.Clip(slices.Clone(slots))
		}
	}
}

// words is the vocabulary of all search texts, each word once; a word is a run
// of letters and digits. If what a search looks for is one word, then a text
// contains it if and only if one of the text's words does: it is enough to
// scan the vocabulary. If it has other characters too, then each of its words
// is in the texts that contain it, and those are few enough to look at.
type words struct {
	ids   map[string]uint32
	text  text
	slots []posting
	dead  int // words that no text has any more
}

func newWords() words { return words{ids: map[string]uint32{}} }

func splitWords(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// distinct yields each word of a text once.
func distinct(s string, yield func(string)) {
	fields := splitWords(s)
	slices.Sort(fields)
	for _, word := range slices.Compact(fields) {
		yield(word)
	}
}

func (w *words) add(slot uint32, s string) {
	distinct(s, func(word string) {
		id, found := w.ids[word]
		if !found {
			id = w.text.append(word)
			w.ids[strings.Clone(word)] = id
			w.slots = append(w.slots, nil)
		} else if len(w.slots[id]) == 0 {
			w.dead--
		}
		w.slots[id] = append(w.slots[id], slot)
	})
}

func (w *words) remove(slot uint32, s string) {
	distinct(s, func(word string) {
		id := w.ids[word]
		w.slots[id] = w.slots[id].without(slot)
		if len(w.slots[id]) == 0 {
			w.slots[id] = nil
			w.dead++
		}
	})
	if w.dead > 1024 && w.dead > len(w.slots)/2 {
		w.forget()
	}
}

// forget drops the words that no text has any more.
func (w *words) forget() {
	kept := newWords()
	for id, slots := range w.slots {
		if len(slots) > 0 {
			word := strings.Clone(w.text.at(uint32(id)))
			kept.ids[word] = kept.text.append(word)
			kept.slots = append(kept.slots, slots)
		}
	}
	*w = kept
}

func (w *words) clip() {
	w.text.clip()
	for i, slots := range w.slots {
		if cap(slots) > len(slots)+len(slots)/8 {
			w.slots[i] = slices.Clip(slices.Clone(slots))
		}
	}
}
