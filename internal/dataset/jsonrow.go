package dataset

import (
	"bytes"
	"fmt"
)

// SetJSON sets features from one JSON object. What is no JSON object at all is
// a problem of the row.
func (b *Builder) SetJSON(object []byte) {
	s := scanner{data: object, scratch: b.scan.scratch}
	if c := s.next(); c != '{' {
		b.unreadable(fmt.Sprintf("a row is a JSON object, {\"feature\": value, …}; this one begins with %s", s.found()))
		return
	}
	if !b.object(&s) || !s.ended() {
		b.unreadable(fmt.Sprintf("not valid JSON, at byte %d: %s", s.at+1, s.fault))
	}
	b.scan.scratch = s.scratch
}

func (b *Builder) rowProblem(key, message string) {
	b.problems = append(b.problems, Problem{Column: -1, Feature: key, Message: message})
}

// object reads a row. It expects the keys in the schema's order, which costs
// one comparison each, and takes them in any.
func (b *Builder) object(s *scanner) bool {
	s.pos++
	if s.next() == '}' {
		s.pos++
		return true
	}
	expected := 0
	for {
		column := -1
		if expected < len(b.keys) {
			quoted := b.keys[expected].quoted
			if end := s.pos + len(quoted); end <= len(s.data) && string(s.data[s.pos:end]) == quoted {
				s.pos = end
				column = expected
			}
		}
		if column < 0 {
			var ok bool
			if column, ok = b.key(s); !ok {
				return false
			}
		}
		if column >= 0 {
			expected = column + 1
			if b.seen[column] == b.row {
				b.problem(column, "is there twice in one row")
				if !s.skip(2) {
					return false
				}
			} else {
				b.seen[column] = b.row
				b.count++
				c := b.columns[column]
				if first := s.next(); c.quick && (first-'0' <= 9 || first == '-') {
					// Plain numbers, the commonest features by far.
					start := s.pos
					v, ok := s.float()
					if !ok {
						return false
					}
					if !(v >= c.minimum && v <= c.maximum) {
						b.putFloat(column, c, v, s.data[start:s.pos])
					} else {
						c.floats = append(c.floats, v)
						c.grown()
					}
				} else if !b.value(s, column, c) {
					return false
				}
			}
		}
		if s.pos < len(s.data) && s.data[s.pos] == ',' {
			s.pos++
			if s.next() == '"' {
				continue
			}
			return s.fail(s.pos, "expected a key in double quotes, found %s", s.found())
		}
		more, ok := s.more('}')
		if !more {
			return ok
		}
	}
}

// key reads a key that is not the expected one, with its colon. Column is −1
// if it is no feature's; then its value has been read too.
func (b *Builder) key(s *scanner) (column int, ok bool) {
	opening := s.pos
	text, ok := s.text()
	if !ok {
		return 0, false
	}
	if column, known := b.index[string(text)]; known {
		return column, s.token(':')
	}
	if b.extra == nil {
		return -1, b.unknown(s, string(text))
	}
	if len(text) != s.pos-opening-len(`""`) {
		text = bytes.Clone(text) // it held escapes, and reading the value may reuse its memory
	}
	if !s.token(':') {
		return 0, false
	}
	s.next()
	start := s.pos
	if !s.skip(2) {
		return 0, false
	}
	if b.extraTwice(text) {
		b.rowProblem(shorten(string(text)), "is there twice in one row")
		return -1, true
	}
	b.extra(text, s.data[start:s.pos])
	return -1, true
}

// extraTwice notes that the row has a key that is no feature's, and tells
// whether it has it for the second time.
func (b *Builder) extraTwice(key []byte) bool {
	const most = 10_000 // keys remembered; rows with ever new ones must not fill the memory
	last, known := b.extraSeen[string(key)]
	if !known {
		if len(b.extraSeen) >= most {
			for key, row := range b.extraSeen {
				if *row != b.row {
					delete(b.extraSeen, key)
				}
			}
		}
		last = new(uint64)
		b.extraSeen[string(key)] = last
	}
	twice := *last == b.row
	*last = b.row
	return twice
}

// unknown refuses a key that is no feature's, and reads its value.
func (b *Builder) unknown(s *scanner, name string) bool {
	if !s.token(':') || !s.skip(2) {
		return false
	}
	message := "is no feature of this model"
	if near := b.nearestKey(name); near != "" {
		message += ": did you mean " + near + "?"
	}
	b.rowProblem(shorten(name), message)
	return true
}

func (b *Builder) nearestKey(name string) string {
	if !b.suggests() {
		return ""
	}
	names := make([]string, len(b.keys))
	for i := range b.keys {
		names[i] = b.keys[i].name
	}
	return nearest(name, names)
}
