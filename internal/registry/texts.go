package registry

import "strings"

// texts looks for texts in models, one after the other. Once it has looked at
// many, it remembers which of the owners and labels, that models share, have
// them.
type texts struct {
	x     *index
	texts []soughtText
}

// soughtText is one text in lower case, without spaces.
type soughtText struct {
	text           string
	mark           int // the place of a character without case; -1: none is known
	owners, labels verdicts
}

// verdicts tell whether strings of a table have a text, by their numbers.
type verdicts struct {
	asked int // before it was worth while to remember
	known []verdict
}

type verdict uint8

const (
	unknown verdict = iota
	yes
	no
)

// manyAsked is how many strings are looked at before they are remembered.
const manyAsked = 1024

func (x *index) texts(sought []string) texts {
	t := texts{x: x}
	for _, text := range sought {
		t.texts = append(t.texts, soughtText{text: text, mark: markOfText(text)})
	}
	return t
}

// in tells whether each of the texts occurs in a model's name, summary, owner
// or in a label's value. None has a space, so that none is in two of them.
func (t texts) in(slot uint32) bool {
	for i := range t.texts {
		if !t.texts[i].in(t.x, slot) {
			return false
		}
	}
	return true
}

func (s *soughtText) in(x *index, slot uint32) bool {
	if strings.Contains(x.names.at(slot), s.text) {
		return true
	}
	e := &x.entries[slot]
	if s.owners.in(s.text, e.owner, &x.owners) {
		return true
	}
	for _, label := range e.labels {
		if s.labels.in(s.text, label, &x.labels) {
			return true
		}
	}
	return s.inSummary(e.summary)
}

// inSummary looks for the text whatever its case. To lower every summary costs
// most of a search: an ASCII one is compared as it is, and where the text has a
// mark, a character that has no case, only around the places of the mark.
func (s *soughtText) inSummary(summary string) bool {
	if !isASCII(summary) {
		return strings.Contains(strings.ToLower(summary), s.text)
	}
	if s.mark < 0 {
		for ; len(summary) >= len(s.text); summary = summary[1:] {
			if equalASCII(summary[:len(s.text)], s.text) {
				return true
			}
		}
		return false
	}
	for from := s.mark; from < len(summary); from++ {
		at := strings.IndexByte(summary[from:], s.text[s.mark])
		if at < 0 {
			return false
		}
		from += at
		start := from - s.mark
		if start+len(s.text) <= len(summary) && equalASCII(summary[start:start+len(s.text)], s.text) {
			return true
		}
	}
	return false
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= 0x80 {
			return false
		}
	}
	return true
}

// equalASCII compares a text of ASCII with one in lower case that is as long.
func equalASCII(text, lower string) bool {
	for i := range len(text) {
		c := text[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// markOfText returns where a text of ASCII has its first character that is
// neither a letter nor a digit; -1 if it has none, or isn't ASCII.
func markOfText(text string) int {
	mark := -1
	for i := range len(text) {
		c := text[i]
		if c >= 0x80 {
			return -1
		}
		if mark < 0 && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			mark = i
		}
	}
	return mark
}

// in tells whether a text occurs in an owner, or in a label's value.
func (v *verdicts) in(text string, id uint32, table *table) bool {
	if v.known == nil {
		if v.asked++; v.asked <= manyAsked {
			return valueHas(table.value(id), text)
		}
		v.known = make([]verdict, len(table.values))
	}
	if v.known[id] == unknown {
		v.known[id] = no
		if valueHas(table.value(id), text) {
			v.known[id] = yes
		}
	}
	return v.known[id] == yes
}

// valueHas looks for a text in what is behind the label's mark, or in all.
func valueHas(value, text string) bool {
	return strings.Contains(strings.ToLower(value[strings.Index(value, labelMark)+1:]), text)
}
