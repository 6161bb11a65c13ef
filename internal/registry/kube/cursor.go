package kube

import (
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// cursor reads JSON that an apiserver wrote, once from front to back, without
// building anything that isn't asked for: a list of models is read in a sixth
// of the time that encoding/json needs. It is strict where it looks; of values
// that it skips it checks the structure alone. After the first error all that
// it returns is empty, and err says what it was.
type cursor struct {
	data []byte
	at   int
	err  error
}

var errJSON = errors.New("it isn't the JSON of an object")

func (c *cursor) fail() {
	if c.err == nil {
		c.err = errJSON
		c.at = len(c.data)
	}
}

// peek returns the next byte that isn't space, 0 at the end.
func (c *cursor) peek() byte {
	for c.at < len(c.data) {
		switch b := c.data[c.at]; b {
		case ' ', '\n', '\t', '\r':
			c.at++
		default:
			return b
		}
	}
	return 0
}

func (c *cursor) expect(b byte) {
	if c.peek() != b || b == 0 {
		c.fail()
		return
	}
	c.at++
}

// fields calls f with each key of an object; f reads the value.
func (c *cursor) fields(f func(key string)) {
	c.each('{', '}', func() {
		key := c.bytes()
		c.expect(':')
		f(view(key))
	})
}

// items calls f for each value of an array; f reads it.
func (c *cursor) items(f func()) { c.each('[', ']', f) }

func (c *cursor) each(first, last byte, f func()) {
	c.expect(first)
	if c.peek() == last {
		c.at++
		return
	}
	for c.err == nil {
		f()
		if c.peek() == last {
			c.at++
			return
		}
		c.expect(',')
	}
}

// raw returns a value as it stands, and skips it.
func (c *cursor) raw() []byte {
	c.peek()
	start := c.at
	c.skip()
	if c.err != nil {
		return nil
	}
	return c.data[start:c.at]
}

func (c *cursor) skip() {
	depth := 0
	for c.err == nil {
		switch b := c.peek(); b {
		case '"':
			c.quoted()
		case '{', '[':
			depth++
			c.at++
		case '}', ']':
			depth--
			c.at++
		case ',', ':':
			if depth == 0 {
				c.fail()
			}
			c.at++
		default:
			start := c.at
			for c.at < len(c.data) && isWord(c.data[c.at]) {
				c.at++
			}
			if c.at == start {
				c.fail()
			}
		}
		if depth < 0 {
			c.fail()
		}
		if depth == 0 {
			return
		}
	}
}

// isWord tells the characters of numbers and of true, false and null.
func isWord(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b == '-' || b == '+' || b == '.' || b == 'E'
}

// quoted skips a string, and returns what is between its quotes and whether
// anything of it is escaped.
func (c *cursor) quoted() (inner []byte, escaped bool) {
	c.expect('"')
	for i := c.at; i < len(c.data); i++ {
		switch b := c.data[i]; {
		case b == '"':
			inner = c.data[c.at:i]
			c.at = i + 1
			return inner, escaped
		case b == '\\':
			escaped = true
			i++
		case b < ' ':
			c.fail()
			return nil, false
		}
	}
	c.fail()
	return nil, false
}

// bytes reads a string; what it returns may be part of the data.
func (c *cursor) bytes() []byte {
	inner, escaped := c.quoted()
	if escaped {
		var ok bool
		if inner, ok = unescape(make([]byte, 0, len(inner)), inner); !ok {
			c.fail()
		}
	}
	if !utf8.Valid(inner) {
		c.fail()
	}
	return inner
}

// text reads a string.
func (c *cursor) text() string { return string(c.bytes()) }

// number reads a whole number.
func (c *cursor) number() int {
	c.peek()
	start := c.at
	for c.at < len(c.data) && isWord(c.data[c.at]) {
		c.at++
	}
	n, err := strconv.Atoi(view(c.data[start:c.at]))
	if err != nil {
		c.fail()
	}
	return n
}

// end fails if anything follows.
func (c *cursor) end() error {
	if c.err == nil && c.peek() != 0 || c.at < len(c.data) {
		c.fail()
	}
	return c.err
}

var plainEscapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func unescape(dst, src []byte) ([]byte, bool) {
	for i := 0; i < len(src); i++ {
		if src[i] != '\\' {
			dst = append(dst, src[i])
			continue
		}
		i++
		if i == len(src) {
			return nil, false
		}
		if plain := plainEscapes[src[i]]; plain != 0 {
			dst = append(dst, plain)
			continue
		}
		r, ok := hexRune(src[i:])
		if !ok {
			return nil, false
		}
		i += 4
		if utf16.IsSurrogate(r) {
			second, ok := rune(0), false
			if i+2 < len(src) && src[i+1] == '\\' {
				second, ok = hexRune(src[i+2:])
			}
			if pair := utf16.DecodeRune(r, second); ok && pair != utf8.RuneError {
				r = pair
				i += 6
			} else {
				r = utf8.RuneError
			}
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst, true
}

// hexRune reads uXXXX.
func hexRune(src []byte) (rune, bool) {
	if len(src) < 5 || src[0] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(view(src[1:5]), 16, 32)
	return rune(n), err == nil
}
