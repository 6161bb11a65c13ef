package dataset

import (
	"fmt"
	"math"
	"math/big"
	"modelmanager.dev/internal/wording"
	"strconv"
	"unicode/utf8"
)

// The put methods check one value and append it to its column, which is a
// feature's or, for items of arrays, one below it.

func (b *Builder) putNull(column int, c *column) {
	if !c.rule.nullable {
		if c.rule.unknownNull {
			b.problem(column, "is null, and not nullable (only values outside of the enum become null)")
		} else {
			b.problem(column, "is null, and the feature isn't nullable")
		}
		return
	}
	c.appendNull()
}

func (b *Builder) putBool(column int, c *column, v bool) {
	if !c.rule.bools[bit(v)] {
		if c.rule.unknownNull {
			c.appendNull()
			return
		}
		b.problem(column, "%v is not allowed: the only value is %s", v, c.rule.levelsText())
		return
	}
	c.bits = setBit(c.bits, c.length, v)
	c.grown()
}

// putFloat takes the number's own text for messages, if there is one.
func (b *Builder) putFloat(column int, c *column, v float64, text []byte) {
	r := c.rule
	if !(v >= r.minimum && v <= r.maximum) {
		b.problem(column, "%s", r.floatFault(v, text))
		return
	}
	if !r.plain {
		if r.multiple != 0 && !multipleOf(v, r.multiple) {
			b.problem(column, "%s is not a multiple of %v", shownFloat(v, text), r.multiple)
			return
		}
		if r.dictionary {
			code, ok := r.floats[v]
			b.putCode(column, c, code, ok, func() string { return shownFloat(v, text) })
			return
		}
	}
	c.floats = append(c.floats, v)
	c.grown()
}

func (r *rule) floatFault(v float64, text []byte) string {
	f, shown := r.field, shownFloat(v, text)
	switch {
	case math.IsNaN(v):
		return "NaN is not a number: send null for an unknown value (the feature must be nullable)"
	case math.IsInf(v, 0) && text != nil:
		return shown + " is beyond a double's range"
	case math.IsInf(v, 0):
		return "an infinity is not a number"
	case f.Minimum != nil && v < *f.Minimum:
		return fmt.Sprintf("%s is below the minimum, %v", shown, *f.Minimum)
	case f.ExclusiveMinimum != nil && v <= *f.ExclusiveMinimum:
		return fmt.Sprintf("%s is not above %v", shown, *f.ExclusiveMinimum)
	case f.Maximum != nil && v > *f.Maximum:
		return fmt.Sprintf("%s is above the maximum, %v", shown, *f.Maximum)
	default:
		return fmt.Sprintf("%s is not below %v", shown, *f.ExclusiveMaximum)
	}
}

func (b *Builder) putInt(column int, c *column, v int64) {
	r := c.rule
	if v < r.least || v > r.most {
		b.problem(column, "%s", r.intFault(v))
		return
	}
	if !r.plain {
		if r.multiple != 0 && !r.intMultiple(v) {
			b.problem(column, "%d is not a multiple of %v", v, r.multiple)
			return
		}
		if r.dictionary {
			code, ok := r.ints[v]
			b.putCode(column, c, code, ok, func() string { return strconv.FormatInt(v, 10) })
			return
		}
	}
	c.ints = append(c.ints, v)
	c.grown()
}

func (r *rule) intMultiple(v int64) bool {
	if r.multipleInt != 0 {
		return v%r.multipleInt == 0
	}
	multiple, _ := new(big.Rat).SetString(strconv.FormatFloat(r.multiple, 'g', -1, 64))
	return new(big.Rat).Quo(new(big.Rat).SetInt64(v), multiple).IsInt()
}

func (r *rule) intFault(v int64) string {
	f := r.field
	switch {
	case f.Minimum != nil && v < ceilInt(*f.Minimum, false):
		return fmt.Sprintf("%d is below the minimum, %v", v, *f.Minimum)
	case f.ExclusiveMinimum != nil && v < ceilInt(*f.ExclusiveMinimum, true):
		return fmt.Sprintf("%d is not above %v", v, *f.ExclusiveMinimum)
	case f.Maximum != nil && v > floorInt(*f.Maximum, false):
		return fmt.Sprintf("%d is above the maximum, %v", v, *f.Maximum)
	case f.ExclusiveMaximum != nil && v > floorInt(*f.ExclusiveMaximum, true):
		return fmt.Sprintf("%d is not below %v", v, *f.ExclusiveMaximum)
	default:
		return beyondInteger(strconv.FormatInt(v, 10))
	}
}

func beyondInteger(text string) string {
	return shorten(text) + " is beyond ±9007199254740991 (2^53−1), where JSON readers lose digits: use format: int64 in model.yaml for such integers"
}

// doubleInteger is about an integer that came as a double, which may have been
// another one before it was rounded.
func doubleInteger(v float64) string {
	return strconv.FormatFloat(v, 'f', -1, 64) + " is a double beyond ±9007199254740991 (2^53−1), where integers are rounded: " +
		"keep the column as integers of 64 bits, or as text, from its source on"
}

// putText takes a string, or the text of a date or a date-time.
func (b *Builder) putText(column int, c *column, text []byte) {
	r := c.rule
	switch r.kind {
	case dateKind:
		days, fault := parseDate(text)
		if fault != "" {
			b.problem(column, "%s is not a date: %s", quote(text), fault)
			return
		}
		b.putDate(column, c, days)
		return
	case timeKind:
		micros, fault := parseTime(text)
		if fault != "" {
			b.problem(column, "%s is not a date-time: %s", quote(text), fault)
			return
		}
		b.putTime(column, c, micros)
		return
	}
	if !r.plain {
		if fault := r.textFault(text); fault != "" {
			b.problem(column, "%s", fault)
			return
		}
		if r.dictionary {
			code, ok := r.texts[string(text)]
			b.putCode(column, c, code, ok, func() string { return quote(text) + b.suggestion(r, text) })
			return
		}
	}
	if len(c.bytes)+len(text) > math.MaxInt32 {
		b.problem(column, "the strings of one batch pass 2 GiB: send fewer rows at once")
		return
	}
	c.bytes = append(c.bytes, text...)
	c.offsets = append(c.offsets, int32(len(c.bytes)))
	c.grown()
}

func (r *rule) textFault(text []byte) string {
	if r.minLength > 0 || r.maxLength >= 0 {
		n := utf8.RuneCount(text)
		if n < r.minLength {
			return fmt.Sprintf("%s has %d characters: it needs at least %d", quote(text), n, r.minLength)
		}
		if r.maxLength >= 0 && n > r.maxLength {
			return fmt.Sprintf("%s has %d characters: it may have %d at the most", quote(text), n, r.maxLength)
		}
	}
	if r.pattern != nil && !r.pattern.Match(text) {
		return fmt.Sprintf("%s doesn't match the pattern %s", quote(text), r.field.Pattern)
	}
	return ""
}

func (b *Builder) suggestion(r *rule, text []byte) string {
	if !b.suggests() {
		return ""
	}
	if near := r.nearestLevel(string(text)); near != "" {
		return " (did you mean " + quote([]byte(near)) + "?)"
	}
	return ""
}

func (b *Builder) putDate(column int, c *column, days int32) {
	if c.rule.dictionary {
		code, ok := c.rule.ints[int64(days)]
		b.putCode(column, c, code, ok, func() string { return string(appendDate(nil, days)) })
		return
	}
	if days < minDay || days > maxDay {
		b.problem(column, "a date lies between the years 0001 and 9999")
		return
	}
	c.codes = append(c.codes, days)
	c.grown()
}

func (b *Builder) putTime(column int, c *column, micros int64) {
	if c.rule.dictionary {
		code, ok := c.rule.ints[micros]
		b.putCode(column, c, code, ok, func() string { return string(appendTime(nil, micros)) })
		return
	}
	if micros < minDay*microsPerDay || micros >= (maxDay+1)*microsPerDay {
		b.problem(column, "a date-time lies between the years 0001 and 9999 in UTC")
		return
	}
	c.ints = append(c.ints, micros)
	c.grown()
}

// putCode takes a value of an enum; known tells whether it is one.
func (b *Builder) putCode(column int, c *column, code int32, known bool, shown func() string) {
	switch {
	case known:
		c.codes = append(c.codes, code)
		c.grown()
	case c.rule.unknownNull:
		c.appendNull()
	default:
		b.problem(column, "%s is none of the allowed values: %s", shown(), c.rule.levelsText())
	}
}

// multipleOf works on the decimals that people write: 0.07 is a multiple of 0.01.
func multipleOf(v, multiple float64) bool {
	if whole(v) && whole(multiple) && math.Abs(v) <= maxInteger {
		return math.Mod(v, multiple) == 0
	}
	a, _ := new(big.Rat).SetString(strconv.FormatFloat(v, 'g', -1, 64))
	m, _ := new(big.Rat).SetString(strconv.FormatFloat(multiple, 'g', -1, 64))
	return a.Quo(a, m).IsInt()
}

// shownLength bounds values in messages.
const shownLength = 60

// quote shows a caller's text in a message: quoted, shortened.
func quote(text []byte) string {
	if len(text) <= shownLength {
		return strconv.Quote(string(text))
	}
	return strconv.Quote(shorten(string(text[:min(len(text), 4*shownLength+1)])))
}

func shorten(text string) string { return wording.Shorten(text, shownLength) }

func shownFloat(v float64, text []byte) string {
	if text != nil {
		return shorten(string(text))
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
