package dataset

import (
	"math"
	"strconv"
)

// value reads one value into a column. False means a fault of syntax; what is
// wrong with a well-formed value is a problem of the row.
func (b *Builder) value(s *scanner, column int, c *column) bool {
	first := s.next()
	switch c.rule.kind {
	case floatKind:
		if s.lax {
			if v, ok := s.notFinite(); ok {
				c.floats = append(c.floats, v)
				c.grown()
				return true
			}
		}
		if first == '-' || first-'0' <= 9 {
			start := s.pos
			v, ok := s.float()
			if !ok {
				return false
			}
			b.putFloat(column, c, v, s.data[start:s.pos])
			return true
		}
	case intKind:
		if first == '-' || first-'0' <= 9 {
			return b.integer(s, column, c)
		}
		if first == '"' && c.rule.long {
			return b.long(s, column, c)
		}
	case stringKind, dateKind, timeKind:
		if first == '"' {
			text, ok := s.text()
			if !ok {
				return false
			}
			b.putText(column, c, text)
			return true
		}
	case boolKind:
		if first == 't' {
			if !s.literal("true") {
				return false
			}
			b.putBool(column, c, true)
			return true
		}
		if first == 'f' {
			if !s.literal("false") {
				return false
			}
			b.putBool(column, c, false)
			return true
		}
	case arrayKind:
		if first == '[' {
			return b.array(s, column, c)
		}
	}
	if first == 'n' {
		if !s.literal("null") {
			return false
		}
		b.putNull(column, c)
		return true
	}
	return b.mismatch(s, column, c)
}

// integer reads a JSON number into an integer column.
func (b *Builder) integer(s *scanner, column int, c *column) bool {
	data, start := s.data, s.pos
	i := start
	if data[i] == '-' {
		i++
	}
	first := i
	var v int64
	for ; i < len(data) && i-first < 16; i++ {
		d := data[i] - '0'
		if d > 9 {
			break
		}
		v = v*10 + int64(d)
	}
	digits := i - first
	simple := digits > 0 && digits < 16 && (digits == 1 || data[first] != '0') &&
		(i == len(data) || data[i] != '.' && data[i]|0x20 != 'e')
	if simple {
		if first > start {
			v = -v
		}
		s.pos = i
		b.putInt(column, c, v)
		return true
	}
	text, ok := s.number()
	if !ok {
		return false
	}
	v, fit := parseWhole(text)
	switch {
	case fit == notWhole:
		b.problem(column, "%s is not an integer", shorten(string(text)))
	case fit == tooLarge && !c.rule.long:
		b.problem(column, "%s", beyondInteger(string(text)))
	case c.rule.long && (fit == tooLarge || v > maxInteger || v < -maxInteger):
		b.problem(column, "%s is beyond ±9007199254740991 (2^53−1), where JSON numbers lose digits: send it as a string, %q",
			shorten(string(text)), shorten(string(text)))
	default:
		b.putInt(column, c, v)
	}
	return true
}

// long reads an integer with format int64 from its string.
func (b *Builder) long(s *scanner, column int, c *column) bool {
	text, ok := s.text()
	if !ok {
		return false
	}
	b.longText(column, c, text)
	return true
}

func (b *Builder) longText(column int, c *column, text []byte) {
	digits := text
	if len(digits) > 0 && digits[0] == '-' {
		digits = digits[1:]
	}
	plain := len(digits) > 0 && (len(digits) == 1 || digits[0] != '0')
	for _, d := range digits {
		plain = plain && d-'0' <= 9
	}
	if !plain {
		b.problem(column, "%s is not an integer written in digits, such as \"-12\"", quote(text))
		return
	}
	v, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		b.problem(column, "%s is beyond 64 bits", quote(text))
		return
	}
	b.putInt(column, c, v)
}

type fit uint8

const (
	fits fit = iota
	notWhole
	tooLarge
)

// parseWhole reads a JSON number exactly: 5.0, 5e0 and 50e-1 are whole.
func parseWhole(text []byte) (int64, fit) {
	i, negative := 0, false
	if text[0] == '-' {
		i, negative = 1, true
	}
	// The value is the digits, times ten to the power of exponent.
	var digits []byte
	var space [32]byte
	digits = space[:0]
	exponent, pointed := 0, false
	for ; i < len(text); i++ {
		c := text[i]
		if c == '.' {
			pointed = true
			continue
		}
		if c-'0' > 9 {
			break
		}
		if pointed {
			exponent--
		}
		if c != '0' || len(digits) > 0 {
			digits = append(digits, c)
		}
	}
	for len(digits) > 0 && digits[len(digits)-1] == '0' {
		digits = digits[:len(digits)-1]
		exponent++
	}
	if len(digits) == 0 {
		return 0, fits
	}
	if i < len(text) { // an e
		e, err := strconv.Atoi(string(text[i+1:]))
		if err != nil || e > 1<<40 || e < -1<<40 {
			if text[i+1] == '-' {
				return 0, notWhole
			}
			return 0, tooLarge
		}
		exponent += e
	}
	if exponent < 0 {
		return 0, notWhole
	}
	if len(digits)+exponent > 19 {
		return 0, tooLarge
	}
	var v uint64
	for _, d := range digits {
		v = v*10 + uint64(d-'0')
	}
	for range exponent {
		v *= 10
	}
	switch {
	case negative && v <= 1<<63:
		return -int64(v), fits
	case v > math.MaxInt64:
		return 0, tooLarge
	}
	return int64(v), fits
}

// array reads an array into a list column.
func (b *Builder) array(s *scanner, column int, c *column) bool {
	s.pos++
	r := c.rule
	before := c.child.length
	most := r.maxItems
	if r.length > 0 {
		most = r.length
	}
	n := 0
	if s.next() == ']' {
		s.pos++
	} else {
		for {
			if n < most {
				known := len(b.problems)
				if !b.value(s, column, c.child) {
					return false
				}
				for i := known; i < len(b.problems); i++ {
					b.problems[i].Message = r.itemName(n) + ": " + b.problems[i].Message
				}
			} else if !s.skip(2) {
				return false
			}
			n++
			more, ok := s.more(']')
			if !ok {
				return false
			}
			if !more {
				break
			}
		}
	}
	switch {
	case r.length > 0 && n != r.length:
		b.problem(column, "has %d items: it needs exactly %d", n, r.length)
	case n > most:
		b.problem(column, "has %d items: it may have %d at the most", n, most)
	case c.child.length-before != n:
		// An item was refused, and so is the row.
	case r.length > 0:
		c.grown()
	case c.child.length > math.MaxInt32:
		b.problem(column, "the items of one batch pass 2^31: send fewer rows at once")
	default:
		c.offsets = append(c.offsets, int32(c.child.length))
		c.grown()
	}
	return true
}

func (r *rule) itemName(i int) string {
	if i < len(r.field.Labels) {
		return r.field.Labels[i]
	}
	return "item " + strconv.Itoa(i)
}

// mismatch reads a value of a type that the column doesn't take, and says so.
func (b *Builder) mismatch(s *scanner, column int, c *column) bool {
	start := s.pos
	first := s.next()
	if !s.skip(2) {
		return false
	}
	text := s.data[start:s.pos]
	shown, noun := shorten(string(text)), c.rule.noun()
	if c.rule.long {
		noun = "an integer, as a string of digits"
	}
	switch {
	case first == '"' && (c.rule.kind == floatKind || c.rule.kind == intKind):
		inner := scanner{data: text}
		if content, ok := inner.text(); ok && isNumber(content) {
			b.problem(column, "%s is a string: send the number without quotes", shown)
			return true
		}
		b.problem(column, "%s is a string: the feature needs %s", shown, noun)
	case first == '"' && c.rule.kind == boolKind:
		b.problem(column, "%s is a string: send true or false, without quotes", shown)
	case first == '"':
		b.problem(column, "%s is a string: the feature needs %s", shown, noun)
	case first == '{':
		b.problem(column, "is an object: the feature needs %s", noun)
	case first == '[':
		b.problem(column, "is an array: the feature needs %s", noun)
	case first == 't' || first == 'f':
		b.problem(column, "%s is a boolean: the feature needs %s", shown, noun)
	case c.rule.kind == stringKind:
		b.problem(column, "%s is a number: send the string \"%s\"", shown, shown)
	default:
		b.problem(column, "%s is a number: the feature needs %s", shown, noun)
	}
	return true
}

func isNumber(text []byte) bool {
	if len(text) == 0 || text[0] != '-' && text[0]-'0' > 9 {
		return false
	}
	s := scanner{data: text}
	_, ok := s.float()
	return ok && s.pos == len(text)
}
