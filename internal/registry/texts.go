package registry

import "strings"

// texts looks for texts in models, one after the other: those that many models
// share, owners and labels, it looks at once.
type texts struct {
	x     *index
	texts []soughtText
}

// soughtText is one text in lower case, without spaces, and whether owners and
// labels have it, by their numbers.
type soughtText struct {
	text           string
	mark           int // the place of a character without case; -1: none is known
	owners, labels []verdict
}

type verdict uint8

const (
	unknown verdict = iota
	yes
	no
)

func (x *index) texts(sought []string) texts {
	t := texts{x: x}
	for _, text := range sought {
		t.texts = append(t.texts, soughtText{
			text: text, mark: markOfText(text), owners: make([]verdict, len(x.owners.values)), labels: make([]verdict, len(x.labels.values)),
		})
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
	if s.shared(s.owners, e.owner, x.owners.value) {
		return true
	}
	for _, label := range e.labels {
		if s.shared(s.labels, label, func(id uint32) string {
			_, value, _ := strings.Cut(x.labels.value(id), labelMark)
			return value
		}) {
			return true
		}
	}
	return s.inSummary(e.summary)
}

// inSummary looks for the text whatever its case. To lower every summary costs
// most of a search: where both are ASCII, only what is around the text's mark
// is looked at, a character that has no case.
func (s *soughtText) inSummary(summary string) bool {
	if s.mark < 0 || !isASCII(summary) {
		return strings.Contains(strings.ToLower(summary), s.text)
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

// equalASCII compares a text of ASCII with one in lower case.
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

func (s *soughtText) shared(known []verdict, id uint32, value func(uint32) string) bool {
	if known[id] == unknown {
		known[id] = no
		if strings.Contains(strings.ToLower(value(id)), s.text) {
			known[id] = yes
		}
	}
	return known[id] == yes
}
