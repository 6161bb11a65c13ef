package dataset

import (
	"bytes"
	"strconv"
	"time"
	"unicode/utf8"
	"unsafe"
)

// TextRules says how the cells of a text file are to be read.
type TextRules struct {
	Decimal  byte           // '.' or ','; 0 is '.'
	Null     []string       // unquoted cells that stand for null; nil: the empty one
	Dates    string         // layout such as DD/MM/YYYY; "": ISO 8601
	Timezone *time.Location // of date-times without an offset; nil: they are refused
}

// SetText sets a feature from a cell of a text file. Blanks around numbers,
// booleans and dates are ignored; in strings they are kept. A quoted cell is
// never null.
func (b *Builder) SetText(column int, cell []byte, quoted bool, rules *TextRules) {
	if !b.first(column) {
		return
	}
	c := b.columns[column]
	r := c.rule
	if !quoted && rules.isNull(cell) {
		b.putNull(column, c)
		return
	}
	if r.kind == stringKind {
		if !utf8.Valid(cell) {
			b.problem(column, "%s is not valid UTF-8: name the file's encoding (input.encoding)", quote(cell))
			return
		}
		b.putText(column, c, cell)
		return
	}
	text := trim(cell)
	if len(text) == 0 {
		b.problem(column, "%s", r.emptyCell(quoted))
		return
	}
	switch r.kind {
	case floatKind:
		b.floatCell(column, c, text, rules)
	case intKind:
		b.intCell(column, c, text, rules)
	case boolKind:
		b.boolCell(column, c, text)
	case dateKind:
		b.dateCell(column, c, text, rules)
	case timeKind:
		b.timeCell(column, c, text, rules)
	default:
		s := scanner{data: text}
		if !b.value(&s, column, c) || !s.ended() {
			b.problem(column, "%s is not a JSON array: %s", quote(text), s.fault)
		}
	}
}

func (t *TextRules) isNull(cell []byte) bool {
	if t == nil || t.Null == nil {
		return len(cell) == 0
	}
	for _, null := range t.Null {
		if string(cell) == null {
			return true
		}
	}
	return false
}

func (r *rule) emptyCell(quoted bool) string {
	if quoted {
		return "is an empty string (a quoted empty cell), not null: the feature needs " + r.noun() + "; leave the quotes out for null"
	}
	return "is empty, and the feature needs " + r.noun() + ": list \"\" in input.null if it stands for null"
}

func trim(cell []byte) []byte {
	for len(cell) > 0 && (cell[0] == ' ' || cell[0] == '\t') {
		cell = cell[1:]
	}
	for len(cell) > 0 && (cell[len(cell)-1] == ' ' || cell[len(cell)-1] == '\t') {
		cell = cell[:len(cell)-1]
	}
	return cell
}

func (b *Builder) floatCell(column int, c *column, text []byte, rules *TextRules) {
	v, ok := cellFloat(text, rules.decimal())
	if !ok {
		b.problem(column, "%s", c.rule.numberCellFault(text, rules.decimal()))
		return
	}
	b.putFloat(column, c, v, text)
}

func (t *TextRules) decimal() byte {
	if t == nil || t.Decimal == 0 {
		return '.'
	}
	return t.Decimal
}

// cellFloat reads a decimal number as people and programs write it: an
// optional sign, digits, a decimal mark, an exponent; leading zeros, "5." and
// ".5" too. Nothing else: no hexadecimal, no underscores, no words.
func cellFloat(text []byte, decimal byte) (float64, bool) {
	i := 0
	negative := text[0] == '-'
	if negative || text[0] == '+' {
		i++
	}
	var mantissa uint64
	digits, decimals, mark := 0, 0, -1
	for ; i < len(text); i++ {
		c := text[i]
		if d := c - '0'; d <= 9 {
			mantissa = mantissa*10 + uint64(d)
			digits++
			if mark >= 0 {
				decimals++
			}
			continue
		}
		if c != decimal || mark >= 0 {
			break
		}
		mark = i
	}
	if digits == 0 {
		return 0, false
	}
	if i == len(text) && digits <= 19 && mantissa < 1<<53 && decimals < len(pow10) {
		v := float64(mantissa) / pow10[decimals]
		if negative {
			v = -v
		}
		return v, true
	}
	if i < len(text) && !isExponent(text[i:]) {
		return 0, false
	}
	if decimal != '.' && mark >= 0 {
		text = bytes.Clone(text)
		text[mark] = '.'
	}
	// Out of range is ±Inf, which the range check refuses.
	v, _ := strconv.ParseFloat(unsafe.String(&text[0], len(text)), 64)
	return v, true
}

func isExponent(text []byte) bool {
	if text[0]|0x20 != 'e' {
		return false
	}
	text = text[1:]
	if len(text) > 0 && (text[0] == '+' || text[0] == '-') {
		text = text[1:]
	}
	for _, c := range text {
		if c-'0' > 9 {
			return false
		}
	}
	return len(text) > 0
}

// intCell takes 5, 5.0 and 5e0.
func (b *Builder) intCell(column int, c *column, text []byte, rules *TextRules) {
	digits, negative := text, false
	if text[0] == '-' || text[0] == '+' {
		digits, negative = text[1:], text[0] == '-'
	}
	if len(digits) > 0 && len(digits) <= 18 {
		var v int64
		i := 0
		for ; i < len(digits) && digits[i]-'0' <= 9; i++ {
			v = v*10 + int64(digits[i]-'0')
		}
		if i == len(digits) {
			if negative {
				v = -v
			}
			b.putInt(column, c, v)
			return
		}
	}
	if _, ok := cellFloat(text, rules.decimal()); !ok {
		b.problem(column, "%s", c.rule.numberCellFault(text, rules.decimal()))
		return
	}
	plain := bytes.Clone(digits)
	if mark := bytes.IndexByte(plain, rules.decimal()); mark >= 0 {
		plain[mark] = '.'
	}
	if negative {
		plain = append([]byte{'-'}, plain...)
	}
	v, fit := parseWhole(plain)
	switch fit {
	case notWhole:
		b.problem(column, "%s is not an integer", shorten(string(text)))
	case tooLarge:
		if c.rule.long {
			b.problem(column, "%s is beyond 64 bits", shorten(string(text)))
			return
		}
		b.problem(column, "%s", beyondInteger(string(text)))
	default:
		b.putInt(column, c, v)
	}
}

func (r *rule) numberCellFault(text []byte, decimal byte) string {
	shown := quote(text)
	switch lower := string(bytes.ToLower(bytes.TrimLeft(text, "+-"))); lower {
	case "nan", "na", "n/a", "null", "none", "nil", "-", "?", ".", "":
		return shown + " is not " + r.noun() + ": if it stands for null, list it in input.null"
	case "inf", "infinity":
		return shown + " is not a number: infinities are refused; list it in input.null if it stands for null"
	}
	other := byte(',')
	if decimal == ',' {
		other = '.'
	}
	rest := bytes.Map(func(c rune) rune {
		if c == rune(other) || c == ' ' || c == '\'' || c == 0xa0 || c == 0x202f || c == '_' {
			return -1
		}
		return c
	}, text)
	if _, ok := cellFloat(append(rest, "0"[:bit(len(rest) == 0)]...), decimal); ok && len(rest) < len(text) && len(rest) > 0 {
		if bytes.Count(text, []byte{other}) == 1 && len(rest) == len(text)-1 {
			return shown + " is not " + r.noun() + ": if " + string(rune(other)) + " is the decimal mark, set input.decimal to \"" +
				string(rune(other)) + "\"; thousands separators are refused"
		}
		return shown + " is not " + r.noun() + ": write it without thousands separators"
	}
	return shown + " is not " + r.noun()
}

func (b *Builder) boolCell(column int, c *column, text []byte) {
	switch {
	case bytes.EqualFold(text, []byte("true")):
		b.putBool(column, c, true)
	case bytes.EqualFold(text, []byte("false")):
		b.putBool(column, c, false)
	default:
		b.problem(column, "%s is not a boolean: write true or false", quote(text))
	}
}

func (b *Builder) dateCell(column int, c *column, text []byte, rules *TextRules) {
	if rules == nil || rules.Dates == "" {
		b.putText(column, c, text)
		return
	}
	at, fault := parseLayout(text, rules.Dates)
	switch {
	case fault != "":
		b.problem(column, "%s is not a date: %s", quote(text), fault)
	case at.micros != 0:
		b.problem(column, "%s has a time of day, and the feature is a date", quote(text))
	default:
		b.putDate(column, c, at.days)
	}
}

func (b *Builder) timeCell(column int, c *column, text []byte, rules *TextRules) {
	var zone *time.Location
	layout := ""
	if rules != nil {
		zone, layout = rules.Timezone, rules.Dates
	}
	micros, fault := parseTime(text)
	if fault != "" {
		var at moment
		if layout != "" {
			at, fault = parseLayout(text, layout)
		} else {
			at, fault = parseNaive(text)
		}
		switch {
		case fault != "":
			b.problem(column, "%s is not a date-time: %s", quote(text), fault)
			return
		case zone == nil:
			b.problem(column, "%s has no offset from UTC: add one, such as Z or +01:00, or name its timezone (input.timezone)", quote(text))
			return
		}
		if micros, fault = at.in(zone); fault != "" {
			b.problem(column, "%s %s", quote(text), fault)
			return
		}
	}
	b.putTime(column, c, micros)
}
