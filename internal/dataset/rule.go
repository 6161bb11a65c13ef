package dataset

import (
	"errors"
	"fmt"
	"math"
	"regexp"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"modelmanager.dev"
)

// kind is what a column's values are, whatever its Arrow type.
type kind uint8

const (
	boolKind kind = iota
	intKind
	floatKind
	stringKind
	dateKind
	timeKind
	arrayKind
)

// maxInteger bounds an integer without format int64: the largest that every
// language's JSON reads exactly.
const maxInteger = 1<<53 - 1

// rule is a field, compiled.
type rule struct {
	field    *modelmanager.Field
	kind     kind
	nullable bool
	long     bool // format int64

	// Bounds are inclusive: an exclusive one is the next value inside. They are
	// finite, so that infinities and NaN always fail them.
	minimum, maximum float64
	least, most      int64
	multiple         float64 // 0: none
	multipleInt      int64   // multiple, where it is a whole number

	minLength, maxLength int // of a string, in code points; maxLength −1: none
	pattern              *regexp.Regexp
	plain                bool // no rule but the bounds: the quick path

	// dictionary: values are kept as codes into levels.
	dictionary  bool
	unknownNull bool
	levels      int
	texts       map[string]int32
	ints        map[int64]int32 // of integers, days and microseconds
	floats      map[float64]int32
	bools       [2]bool // which booleans an enum of them allows
	levelData   *array.Data
	levelJSON   [][]byte

	item             *rule
	length, maxItems int // −1: none

	stored layout
	preset []byte // the default as JSON; nil: none
	arrow  arrow.DataType
}

// takesNull tells whether the column may hold a null.
func (r *rule) takesNull() bool {
	preset := r.field.Default
	return r.nullable || r.unknownNull || r.field.Optional || preset != nil && preset.Value == nil
}

func compileRule(field *modelmanager.Field) (*rule, error) {
	r := &rule{
		field: field, nullable: field.Nullable,
		minimum: -math.MaxFloat64, maximum: math.MaxFloat64,
		least: -maxInteger, most: maxInteger,
		maxLength: -1, length: -1, maxItems: -1,
	}
	if err := r.setKind(); err != nil {
		return nil, err
	}
	if err := r.setBounds(); err != nil {
		return nil, err
	}
	if err := r.setText(); err != nil {
		return nil, err
	}
	if err := r.setItems(); err != nil {
		return nil, err
	}
	if err := r.setEnum(); err != nil {
		return nil, err
	}
	r.stored = r.layout()
	r.plain = r.multiple == 0 && r.minLength == 0 && r.maxLength < 0 && r.pattern == nil && !r.dictionary
	return r, nil
}

func (r *rule) setKind() error {
	f := r.field
	switch f.Type {
	case modelmanager.Boolean:
		r.kind, r.arrow, r.bools = boolKind, arrow.FixedWidthTypes.Boolean, [2]bool{true, true}
	case modelmanager.Integer:
		r.kind, r.arrow = intKind, arrow.PrimitiveTypes.Int64
		if f.Format == modelmanager.FormatInt64 {
			r.long, r.least, r.most = true, math.MinInt64, math.MaxInt64
			return nil
		}
	case modelmanager.Number:
		r.kind, r.arrow = floatKind, arrow.PrimitiveTypes.Float64
	case modelmanager.String:
		switch f.Format {
		case "":
			r.kind, r.arrow = stringKind, arrow.BinaryTypes.String
		case modelmanager.FormatDate:
			r.kind, r.arrow = dateKind, arrow.FixedWidthTypes.Date32
		case modelmanager.FormatDateTime:
			r.kind, r.arrow = timeKind, arrow.FixedWidthTypes.Timestamp_us
		default:
			return fmt.Errorf("a string has no format %q: use date, date-time or none", f.Format)
		}
		return nil
	case modelmanager.Array:
		r.kind = arrayKind
	default:
		return fmt.Errorf("there is no type %q: use boolean, integer, number, string or array", f.Type)
	}
	if f.Format != "" {
		return fmt.Errorf("type %s has no format %q", f.Type, f.Format)
	}
	return nil
}

func (r *rule) setBounds() error {
	f := r.field
	numeric := r.kind == intKind || r.kind == floatKind
	for _, bound := range []*float64{f.Minimum, f.Maximum, f.ExclusiveMinimum, f.ExclusiveMaximum, f.MultipleOf} {
		switch {
		case bound == nil:
		case !numeric:
			return fmt.Errorf("minimum, maximum and multipleOf are for integers and numbers, not for %s", r.noun())
		case math.IsNaN(*bound) || math.IsInf(*bound, 0):
			return errors.New("minimum, maximum and multipleOf are finite numbers")
		}
	}
	if f.MultipleOf != nil {
		if *f.MultipleOf <= 0 {
			return errors.New("multipleOf is above 0")
		}
		r.multiple = *f.MultipleOf
		if whole(r.multiple) && r.multiple <= maxInteger {
			r.multipleInt = int64(r.multiple)
		}
	}
	lower := func(v float64, open bool) {
		if open {
			r.minimum = max(r.minimum, math.Nextafter(v, math.Inf(1)))
		} else {
			r.minimum = max(r.minimum, v)
		}
		r.least = max(r.least, ceilInt(v, open))
	}
	upper := func(v float64, open bool) {
		if open {
			r.maximum = min(r.maximum, math.Nextafter(v, math.Inf(-1)))
		} else {
			r.maximum = min(r.maximum, v)
		}
		r.most = min(r.most, floorInt(v, open))
	}
	if f.Minimum != nil {
		lower(*f.Minimum, false)
	}
	if f.ExclusiveMinimum != nil {
		lower(*f.ExclusiveMinimum, true)
	}
	if f.Maximum != nil {
		upper(*f.Maximum, false)
	}
	if f.ExclusiveMaximum != nil {
		upper(*f.ExclusiveMaximum, true)
	}
	if r.kind == floatKind && r.minimum > r.maximum || r.kind == intKind && r.least > r.most {
		return errors.New("no value lies between minimum and maximum")
	}
	return nil
}

// ceilInt returns the least integer that is at least v; above v, if open.
func ceilInt(v float64, open bool) int64 {
	c := math.Ceil(v)
	switch {
	case c >= math.MaxInt64:
		return math.MaxInt64
	case c < math.MinInt64:
		return math.MinInt64
	case open && c == v:
		return int64(c) + 1
	}
	return int64(c)
}

// floorInt returns the largest integer that is at most v; below v, if open.
func floorInt(v float64, open bool) int64 {
	f := math.Floor(v)
	switch {
	case f >= math.MaxInt64: // 2^63 itself is no int64
		return math.MaxInt64
	case f <= math.MinInt64:
		return math.MinInt64
	case open && f == v:
		return int64(f) - 1
	}
	return int64(f)
}

func (r *rule) setText() error {
	f := r.field
	if f.MinLength == nil && f.MaxLength == nil && f.Pattern == "" {
		return nil
	}
	if r.kind != stringKind {
		return fmt.Errorf("minLength, maxLength and pattern are for strings without a format, not for %s", r.noun())
	}
	if f.MinLength != nil {
		r.minLength = *f.MinLength
	}
	if f.MaxLength != nil {
		r.maxLength = *f.MaxLength
		if r.maxLength < r.minLength {
			return errors.New("no length lies between minLength and maxLength")
		}
	}
	if r.minLength < 0 {
		return errors.New("minLength is at least 0")
	}
	if f.Pattern != "" {
		pattern, err := regexp.Compile(f.Pattern)
		if err != nil {
			return fmt.Errorf("pattern %q can't be read: %w (RE2 syntax: no look-around, no back-references)", f.Pattern, err)
		}
		r.pattern = pattern
	}
	return nil
}

// maxArray bounds an array's length: the null of a fixed one takes as much memory as its items.
const maxArray = 1 << 16

func (r *rule) setItems() error {
	f := r.field
	if r.kind != arrayKind {
		if f.Items != nil || f.Length != nil || f.MaxItems != nil || len(f.Labels) > 0 {
			return fmt.Errorf("items, length, max_items and labels are for arrays, not for %s", r.noun())
		}
		return nil
	}
	if f.Items == nil {
		return errors.New("an array needs items: {type: …}")
	}
	item, err := compileRule(f.Items)
	if err != nil {
		return fmt.Errorf("items: %w", err)
	}
	if f.Items.Default != nil {
		return errors.New("items have no default: give the array one")
	}
	r.item = item
	switch {
	case f.Length != nil:
		r.length = *f.Length
	case len(f.Labels) > 0:
		r.length = len(f.Labels)
	case f.MaxItems != nil:
		r.maxItems = *f.MaxItems
	default:
		return errors.New("an array needs a length or max_items")
	}
	switch {
	case r.length > maxArray || r.maxItems > maxArray:
		return fmt.Errorf("an array has at most %d items", maxArray)
	case f.Length != nil && *f.Length < 1 || f.MaxItems != nil && *f.MaxItems < 1:
		return errors.New("length and max_items are at least 1")
	case f.Length != nil && f.MaxItems != nil:
		return errors.New("an array has a length or max_items, not both")
	case len(f.Labels) > 0 && r.length != len(f.Labels):
		return fmt.Errorf("there are %d labels for %d items", len(f.Labels), r.length)
	}
	element := arrow.Field{Name: "item", Type: item.arrow, Nullable: item.takesNull()}
	if r.length > 0 {
		r.arrow = arrow.FixedSizeListOfField(int32(r.length), element)
	} else {
		r.arrow = arrow.ListOfField(element)
	}
	return nil
}

// noun says what a value should be, with its article.
func (r *rule) noun() string {
	switch r.kind {
	case boolKind:
		return "a boolean"
	case intKind:
		return "an integer"
	case floatKind:
		return "a number"
	case dateKind:
		return "a date"
	case timeKind:
		return "a date-time"
	case arrayKind:
		return "an array"
	}
	return "a string"
}

func whole(v float64) bool { return v == math.Trunc(v) && !math.IsInf(v, 0) }
