package dataset

import (
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
)

// A Builder checks rows against a schema and collects those that pass as Arrow
// columns. A row is any number of Set calls, in any order, then EndRow. It
// serves one goroutine at a time.
type Builder struct {
	schema  *Schema
	columns []*column
	keys    []key
	index   map[string]int
	extra   func(key, value []byte)

	extraSeen map[string]*uint64 // of keys handed to extra, the last row that had them

	rows     int      // rows that passed
	row      uint64   // number of the row in progress, from 1
	seen     []uint64 // per column, the last row that set it
	count    int      // columns that the row in progress has set
	problems []Problem
	took     []int // columns to which the row in progress took its default
	filled   []int64
	scan     scanner

	suggestions int // made since the last record
}

// maxSuggestions bounds the "did you mean" of one batch: they are the one part
// of checking a row that hostile input could make slow.
const maxSuggestions = 100

// suggests tells whether one more suggestion may be made.
func (b *Builder) suggests() bool {
	b.suggestions++
	return b.suggestions <= maxSuggestions
}

// Problem says what is wrong with the row in progress. Column is −1 where the
// problem is of the row as a whole, or of a key that is no feature's; Feature
// then holds that key, or is empty.
type Problem struct {
	Column  int
	Feature string
	Message string
}

// AbsentPolicy says what becomes of features that a row did not set.
type AbsentPolicy uint8

const (
	// RefuseAbsent is for JSON: a default fills the feature in, and without one
	// the row is refused.
	RefuseAbsent AbsentPolicy = iota
	// FillAbsent is for files: a default fills the feature in, or else null does
	// if the feature is optional or nullable.
	FillAbsent
)

// NewBuilder returns a builder without rows.
func NewBuilder(s *Schema) *Builder {
	b := &Builder{
		schema: s, keys: s.keys, index: s.index, row: 1,
		columns: make([]*column, len(s.rules)),
		seen:    make([]uint64, len(s.rules)),
		filled:  make([]int64, len(s.rules)),
	}
	for i, r := range s.rules {
		b.columns[i] = newColumn(r)
	}
	return b
}

// Rename makes SetJSON look for features under other keys: feature → key.
func (b *Builder) Rename(keys map[string]string) {
	b.keys = append([]key(nil), b.schema.keys...)
	b.index = make(map[string]int, len(b.keys))
	for i := range b.keys {
		if other, ok := keys[b.keys[i].name]; ok {
			b.keys[i] = newKey(other)
		}
		b.index[b.keys[i].name] = i
	}
}

// PassExtra makes SetJSON hand keys that are no feature's to pass, with their
// values as JSON, instead of refusing the row. Both are valid only during the call.
func (b *Builder) PassExtra(pass func(key, value []byte)) {
	b.extra, b.extraSeen = pass, make(map[string]*uint64)
}

// Rows returns how many rows have passed since the last Record.
func (b *Builder) Rows() int { return b.rows }

// Filled returns, per feature, how many rows took its default, over the
// builder's whole life. The caller must not change it.
func (b *Builder) Filled() []int64 { return b.filled }

// Bytes returns how much memory the collected values take, roughly.
func (b *Builder) Bytes() int {
	n := 0
	for _, c := range b.columns {
		n += c.size()
	}
	return n
}

func (c *column) size() int {
	n := len(c.valid) + len(c.bits) + 8*len(c.floats) + 8*len(c.ints) + 4*len(c.codes) + 4*len(c.offsets) + len(c.bytes)
	if c.child != nil {
		n += c.child.size()
	}
	return n
}

// reserved returns how much memory the columns hold, used or not.
func (b *Builder) reserved() int {
	n := cap(b.scan.scratch)
	for _, c := range b.columns {
		n += c.reserved()
	}
	return n
}

func (c *column) reserved() int {
	n := cap(c.valid) + cap(c.bits) + 8*cap(c.floats) + 8*cap(c.ints) + 4*cap(c.codes) + 4*cap(c.offsets) + cap(c.bytes)
	if c.child != nil {
		n += c.child.reserved()
	}
	return n
}

// EndRow ends the row in progress. A row with problems is taken back; the
// problems are the caller's.
func (b *Builder) EndRow(absent AbsentPolicy) []Problem {
	if b.count < len(b.columns) {
		b.fill(absent)
	}
	b.row++
	b.count = 0
	if b.problems == nil {
		b.rows++
		for _, column := range b.took {
			b.filled[column]++
		}
		b.took = b.took[:0]
		return nil
	}
	b.took = b.took[:0]
	problems := b.problems
	b.problems = nil
	for _, c := range b.columns {
		c.truncate(b.rows)
	}
	return problems
}

// unreadable notes a row that is no JSON object at all: then nothing is said
// about the features that it lacks.
func (b *Builder) unreadable(message string) {
	b.rowProblem("", message)
	b.count = len(b.columns)
}

// fill sets the features that the row lacks.
func (b *Builder) fill(absent AbsentPolicy) {
	for i, c := range b.columns {
		if b.seen[i] == b.row {
			continue
		}
		r := c.rule
		switch {
		case b.problems != nil && r.preset != nil:
			// The row is refused already.
		case r.preset != nil && string(r.preset) == "null":
			c.appendNull()
			b.took = append(b.took, i)
		case r.preset != nil:
			b.SetValue(i, r.preset)
			b.took = append(b.took, i)
		case absent == FillAbsent && (r.field.Optional || r.nullable):
			c.appendNull()
			b.took = append(b.took, i)
		default:
			b.problem(i, "is missing%s", r.missingHint())
		}
	}
}

func (r *rule) missingHint() string {
	if r.nullable {
		return ": send null if it isn't known (only a feature with a default may be left out)"
	}
	return ": it needs " + r.noun()
}

// Record hands the rows over and starts anew. The record's memory is its own:
// rows that follow never touch it.
func (b *Builder) Record() arrow.RecordBatch { return b.recordAs(b.schema.arrow) }

func (b *Builder) recordAs(schema *arrow.Schema) arrow.RecordBatch {
	r := b.freeze(schema)
	b.rows, b.suggestions = 0, 0
	return r
}

// reset forgets the rows, and the row in progress.
func (b *Builder) reset() {
	for _, c := range b.columns {
		c.empty()
	}
	b.rows, b.count, b.problems, b.took = 0, 0, nil, b.took[:0]
	b.row++
	b.suggestions = 0
}

func (b *Builder) problem(column int, format string, args ...any) {
	b.problems = append(b.problems, Problem{
		Column: column, Feature: b.keys[column].name, Message: fmt.Sprintf(format, args...),
	})
}

// first notes that the row sets a column, and tells whether it is for the first time.
func (b *Builder) first(column int) bool {
	if b.seen[column] == b.row {
		b.problem(column, "is there twice in one row")
		return false
	}
	b.seen[column] = b.row
	b.count++
	return true
}

// SetNull sets a feature to null.
func (b *Builder) SetNull(column int) {
	if b.first(column) {
		b.putNull(column, b.columns[column])
	}
}

// SetBool sets a feature to a boolean.
func (b *Builder) SetBool(column int, v bool) {
	if !b.first(column) {
		return
	}
	c := b.columns[column]
	if c.rule.kind != boolKind {
		b.problem(column, "%v is a boolean: the feature needs %s", v, c.rule.noun())
		return
	}
	b.putBool(column, c, v)
}

// SetInt sets a feature to an integer; a feature that is a number takes it too.
func (b *Builder) SetInt(column int, v int64) {
	if !b.first(column) {
		return
	}
	c := b.columns[column]
	switch c.rule.kind {
	case intKind:
		b.putInt(column, c, v)
	case floatKind:
		b.putFloat(column, c, float64(v), nil)
	default:
		b.problem(column, "%d is an integer: the feature needs %s", v, c.rule.noun())
	}
}

// SetFloat sets a feature to a number; one that is an integer takes whole numbers.
func (b *Builder) SetFloat(column int, v float64) {
	if !b.first(column) {
		return
	}
	c := b.columns[column]
	switch {
	case c.rule.kind == floatKind:
		b.putFloat(column, c, v, nil)
	case c.rule.kind == intKind && whole(v) && (v > maxInteger || v < -maxInteger):
		b.problem(column, "%s", doubleInteger(v))
	case c.rule.kind == intKind && whole(v):
		b.putInt(column, c, int64(v))
	case c.rule.kind == intKind && !math.IsNaN(v):
		b.problem(column, "%v is not an integer", v)
	default:
		b.problem(column, "%v is a number: the feature needs %s", v, c.rule.noun())
	}
}

// SetString sets a feature to a string of valid UTF-8; dates, date-times and
// integers with format int64 are read as in JSON.
func (b *Builder) SetString(column int, v []byte) {
	if !b.first(column) {
		return
	}
	c := b.columns[column]
	switch c.rule.kind {
	case stringKind, dateKind, timeKind:
		b.putText(column, c, v)
	case intKind:
		if c.rule.long {
			b.longText(column, c, v)
			return
		}
		fallthrough
	default:
		b.problem(column, "%s is a string: the feature needs %s", quote(v), c.rule.noun())
	}
}

// SetDate sets a feature to a date, in days since 1970-01-01.
func (b *Builder) SetDate(column int, days int32) {
	if !b.first(column) {
		return
	}
	c := b.columns[column]
	if c.rule.kind != dateKind {
		b.problem(column, "%s is a date: the feature needs %s", appendDate(nil, days), c.rule.noun())
		return
	}
	b.putDate(column, c, days)
}

// SetTime sets a feature to a date-time, in microseconds since 1970-01-01 UTC;
// a feature that is a date takes a midnight.
func (b *Builder) SetTime(column int, micros int64) {
	if !b.first(column) {
		return
	}
	c := b.columns[column]
	switch {
	case c.rule.kind == timeKind:
		b.putTime(column, c, micros)
	case c.rule.kind == dateKind && micros%microsPerDay == 0:
		b.putDate(column, c, int32(micros/microsPerDay))
	default:
		b.problem(column, "%s is a date-time: the feature needs %s", appendTime(nil, micros), c.rule.noun())
	}
}

// SetValue sets a feature to a JSON value: the way to set an array.
func (b *Builder) SetValue(column int, value []byte) {
	if !b.first(column) {
		return
	}
	s := scanner{data: value}
	if !b.value(&s, column, b.columns[column]) || !s.ended() {
		b.problem(column, "%s is not valid JSON: %s", quote(value), s.fault)
	}
}
