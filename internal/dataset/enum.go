package dataset

import (
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
)

// maxLevels bounds an enum.
const maxLevels = 1 << 20

func (r *rule) setEnum() error {
	f := r.field
	switch f.Unknown {
	case "", "null", "accept":
	default:
		return fmt.Errorf("unknown is null or accept, not %q", f.Unknown)
	}
	if len(f.Enum) == 0 {
		if f.Unknown != "" {
			return errors.New("unknown says what becomes of a value outside of enum, and there is no enum")
		}
		return nil
	}
	if len(f.Enum) > maxLevels {
		return fmt.Errorf("an enum has at most %d values", maxLevels)
	}
	if r.kind == arrayKind {
		return errors.New("an array has no enum: give it to its items")
	}
	if r.kind == boolKind {
		return r.setBooleans()
	}
	levels, err := r.checkLevels()
	if err != nil {
		return err
	}
	if f.Unknown == "accept" {
		return nil // a plain column
	}
	r.unknownNull = f.Unknown == "null"
	r.dictionary, r.levels = true, len(f.Enum)
	var values frozen
	levels.handOver(&values)
	r.levelData = new(arrayMaker).make(levels.rule, &values, r.levels)
	r.arrow = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: r.arrow}
	return nil
}

func (r *rule) setBooleans() error {
	if r.field.Unknown == "accept" {
		return nil
	}
	r.bools = [2]bool{}
	for _, value := range r.field.Enum {
		v, ok := value.(bool)
		switch {
		case !ok:
			return fmt.Errorf("enum: %v is not a boolean", value)
		case r.bools[bit(v)]:
			return fmt.Errorf("enum: %v is there twice", v)
		}
		r.bools[bit(v)] = true
	}
	r.unknownNull = r.field.Unknown == "null"
	return nil
}

// checkLevels checks every value of the enum as if a caller had sent it, and
// returns them as a column. Lookup tables are filled by the way.
func (r *rule) checkLevels() (*column, error) {
	r.texts, r.ints, r.floats = map[string]int32{}, map[int64]int32{}, map[float64]int32{}
	plain := *r
	plain.nullable, plain.stored, plain.plain = false, plain.layout(), false
	b := &Builder{columns: []*column{{rule: &plain}}, keys: []key{{}}, seen: make([]uint64, 1), row: 1}
	c := b.columns[0]
	for i, value := range r.field.Enum {
		if value == nil {
			return nil, errors.New("enum: null is not one of its values: say nullable: true")
		}
		text, err := appendAny(nil, &plain, value)
		if err != nil {
			return nil, fmt.Errorf("enum: %w", err)
		}
		r.levelJSON = append(r.levelJSON, text)
		b.SetValue(0, text)
		if len(b.problems) > 0 {
			return nil, fmt.Errorf("enum: %s", b.problems[0].Message)
		}
		b.seen[0], b.count = 0, 0
		before := len(r.texts) + len(r.ints) + len(r.floats)
		switch r.kind {
		case stringKind:
			r.texts[string(c.text(i))] = int32(i)
		case floatKind:
			r.floats[c.floats[i]] = int32(i)
		case dateKind:
			r.ints[int64(c.codes[i])] = int32(i)
		default:
			r.ints[c.ints[i]] = int32(i)
		}
		if len(r.texts)+len(r.ints)+len(r.floats) == before {
			return nil, fmt.Errorf("enum: %s is there twice", text)
		}
	}
	return c, nil
}

// level returns a level's text, for messages.
func (r *rule) level(i int) string {
	if r.kind == stringKind && i < len(r.field.Enum) {
		if text, ok := r.field.Enum[i].(string); ok {
			return string(appendString(nil, text))
		}
	}
	return fmt.Sprint(r.field.Enum[i])
}

// levelsText lists the levels, shortened.
func (r *rule) levelsText() string {
	const shown = 8
	text := ""
	for i := range min(shown, len(r.field.Enum)) {
		if i > 0 {
			text += ", "
		}
		text += r.level(i)
	}
	if len(r.field.Enum) > shown {
		text += fmt.Sprintf(" and %d more", len(r.field.Enum)-shown)
	}
	return text
}

// nearestLevel returns the level nearest to a string outside of the enum; "" if none is near.
func (r *rule) nearestLevel(text string) string {
	const most = 1000 // beyond, a suggestion costs more than it is worth
	if r.kind != stringKind || len(r.field.Enum) > most {
		return ""
	}
	var names []string
	for _, value := range r.field.Enum {
		if name, ok := value.(string); ok {
			names = append(names, name)
		}
	}
	return nearest(text, names)
}

func bit(v bool) int {
	if v {
		return 1
	}
	return 0
}
