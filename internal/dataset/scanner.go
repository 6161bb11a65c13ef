package dataset

import (
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds nesting, so that hostile input can't exhaust the stack.
const maxDepth = 64

// scanner reads strict JSON (RFC 8259). Its methods return false at the first
// fault of syntax, which fault and at then describe. Nothing is allocated
// unless a string holds escapes.
type scanner struct {
	data    []byte
	pos     int
	fault   string
	at      int    // where the fault is, in bytes
	scratch []byte // the last string that held escapes
	lax     bool   // value takes NaN and infinities too, as Python and R write them
}

func (s *scanner) fail(at int, format string, args ...any) bool {
	if s.fault == "" {
		s.fault, s.at = fmt.Sprintf(format, args...), at
	}
	return false
}

// next skips blanks and returns the byte there; 0, which starts no token, at the end.
func (s *scanner) next() byte {
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		if c > ' ' || c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c
		}
		s.pos++
	}
	return 0
}

// ended tells whether nothing but blanks follows.
func (s *scanner) ended() bool {
	if s.next(); s.pos < len(s.data) {
		return s.fail(s.pos, "%s follows the end of the value", s.found())
	}
	return true
}

// found names what is at the position, for messages.
func (s *scanner) found() string {
	if s.pos >= len(s.data) {
		return "the end"
	}
	r, _ := utf8.DecodeRune(s.data[s.pos:])
	return strconv.QuoteRune(r)
}

// token consumes one punctuation byte.
func (s *scanner) token(c byte) bool {
	if s.next() != c {
		return s.fail(s.pos, "expected %q, found %s", c, s.found())
	}
	s.pos++
	return true
}

// more consumes what follows an element: a comma (more is true) or the closing
// byte. ok is false for anything else.
func (s *scanner) more(closing byte) (more, ok bool) {
	switch s.next() {
	case ',':
		s.pos++
		if c := s.next(); c == closing {
			return false, s.fail(s.pos, "a comma before %q", closing)
		}
		return true, true
	case closing:
		s.pos++
		return false, true
	}
	return false, s.fail(s.pos, "expected a comma or %q, found %s", closing, s.found())
}

// literal consumes true, false or null.
func (s *scanner) literal(word string) bool {
	if end := s.pos + len(word); end <= len(s.data) && string(s.data[s.pos:end]) == word {
		s.pos = end
		return true
	}
	return s.fail(s.pos, "expected a value, found %s", s.found())
}

// text consumes a string and returns its content, which is valid until the
// scanner's next string.
func (s *scanner) text() ([]byte, bool) {
	if s.next() != '"' {
		return nil, s.fail(s.pos, "expected a string in double quotes, found %s", s.found())
	}
	data, start := s.data, s.pos+1
	var high byte
	for i := start; i < len(data); i++ {
		c := data[i]
		high |= c
		switch {
		case c == '"':
			s.pos = i + 1
			if high >= utf8.RuneSelf && !utf8.Valid(data[start:i]) {
				return nil, s.fail(invalidAt(data[start:i])+start, "invalid UTF-8")
			}
			return data[start:i], true
		case c == '\\':
			return s.escaped(start, i)
		case c < ' ':
			return nil, s.fail(i, "a control character in a string: write \\u%04x", c)
		}
	}
	return nil, s.fail(start-1, "a string without an end")
}

// escaped reads a string whose first escape is at i.
func (s *scanner) escaped(start, i int) ([]byte, bool) {
	data := s.data
	out := append(s.scratch[:0], data[start:i]...)
	for i < len(data) {
		c := data[i]
		switch {
		case c == '"':
			s.pos, s.scratch = i+1, out
			if !utf8.Valid(data[start:i]) {
				return nil, s.fail(invalidAt(data[start:i])+start, "invalid UTF-8")
			}
			return out, true
		case c < ' ':
			return nil, s.fail(i, "a control character in a string: write \\u%04x", c)
		case c != '\\':
			out = append(out, c)
			i++
			continue
		}
		var size int
		if out, size = s.escape(out, i); size == 0 {
			return nil, false
		}
		i += size
	}
	return nil, s.fail(start-1, "a string without an end")
}

// escape appends the character that the escape at i stands for, and returns
// the escape's size; 0 if it is none.
func (s *scanner) escape(out []byte, i int) ([]byte, int) {
	data := s.data
	if i+1 >= len(data) {
		s.fail(i, "a string without an end")
		return out, 0
	}
	switch c := data[i+1]; c {
	case '"', '\\', '/':
		return append(out, c), 2
	case 'b':
		return append(out, '\b'), 2
	case 'f':
		return append(out, '\f'), 2
	case 'n':
		return append(out, '\n'), 2
	case 'r':
		return append(out, '\r'), 2
	case 't':
		return append(out, '\t'), 2
	case 'u':
	default:
		s.fail(i, "there is no escape \\%c", rune(c))
		return out, 0
	}
	r := hex4(data, i+2)
	if r < 0 {
		s.fail(i, "\\u needs four hexadecimal digits")
		return out, 0
	}
	if !utf16.IsSurrogate(r) {
		return utf8.AppendRune(out, r), 6
	}
	if i+7 < len(data) && data[i+6] == '\\' && data[i+7] == 'u' {
		if pair := utf16.DecodeRune(r, hex4(data, i+8)); pair != utf8.RuneError {
			return utf8.AppendRune(out, pair), 12
		}
	}
	s.fail(i, "half a surrogate pair, which is no character")
	return out, 0
}

// hex4 reads four hexadecimal digits; −1 if they aren't there.
func hex4(data []byte, i int) rune {
	if i+4 > len(data) {
		return -1
	}
	var r rune
	for _, c := range data[i : i+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

func invalidAt(text []byte) int {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return 0
}

// skip consumes any value.
func (s *scanner) skip(depth int) bool {
	if depth > maxDepth {
		return s.fail(s.pos, "values are nested more than %d deep", maxDepth)
	}
	switch c := s.next(); {
	case c == '"':
		_, ok := s.text()
		return ok
	case c == '-' || c-'0' <= 9:
		_, ok := s.float()
		return ok
	case c == '{':
		s.pos++
		if s.next() == '}' {
			s.pos++
			return true
		}
		for {
			if _, ok := s.text(); !ok || !s.token(':') || !s.skip(depth+1) {
				return false
			}
			if more, ok := s.more('}'); !more {
				return ok
			}
		}
	case c == '[':
		s.pos++
		if s.next() == ']' {
			s.pos++
			return true
		}
		for {
			if !s.skip(depth + 1) {
				return false
			}
			if more, ok := s.more(']'); !more {
				return ok
			}
		}
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	default:
		return s.literal("null")
	}
}
