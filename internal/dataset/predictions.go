package dataset

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"modelmanager.dev"
)

// CheckPredictions checks a worker's answer for so many rows, and returns it
// in the schema's types and order. It takes the columns by name, and casts
// where nothing is lost: integers and single precision to numbers, whole
// numbers to integers, dictionaries to strings and back. Single bad values (out
// of range, outside of the enum, NaN, null) are errors of their rows; a
// missing, extra or wrongly typed column and a wrong number of rows are an
// error of the whole, with the code invalid_predictions.
//
// All predictions of a row with errors are null in the record, whether they
// are nullable or not: its columns, unlike Arrow's, are all nullable.
func (s *Schema) CheckPredictions(record arrow.RecordBatch, rows int) (arrow.RecordBatch, []modelmanager.RowError, error) {
	return s.CheckAnswers(record, rows, nil)
}

// CheckAnswers is CheckPredictions of an answer in which the worker refused
// some rows itself. They are not checked; their errors come back with the others.
func (s *Schema) CheckAnswers(record arrow.RecordBatch, rows int, refused []modelmanager.RowError) (arrow.RecordBatch, []modelmanager.RowError, error) {
	order, err := s.matchColumns(record.Schema())
	if err != nil {
		return nil, nil, err
	}
	if record.NumRows() != int64(rows) {
		return nil, nil, badAnswer("the answer has %d rows for %d: answer one row for each, in their order", record.NumRows(), rows)
	}
	errs := slices.Clone(refused)
	skip := make([]bool, rows)
	for _, e := range refused {
		if e.Row < 0 || e.Row >= int64(rows) {
			return nil, nil, badAnswer("the answer has an error for row %d: the call had %d rows, counted from 0", e.Row, rows)
		}
		skip[e.Row] = true
	}
	b := NewBuilder(s)
	for i, c := range b.columns {
		a := record.Column(order[i])
		if fault := c.rule.castFault(a.DataType()); fault != "" && a.NullN() < a.Len() {
			return nil, nil, badAnswer("prediction %s: %s", s.keys[i].name, fault)
		}
		for row := range rows {
			if skip[row] {
				c.appendNull()
				continue
			}
			b.cell(i, c, a, row)
			if b.problems != nil {
				for _, p := range b.problems {
					errs = append(errs, modelmanager.RowError{Row: int64(row), Feature: p.Feature, Message: p.Message})
				}
				b.problems = nil
				c.truncate(row)
				c.appendNull()
			}
		}
	}
	for _, e := range errs[len(refused):] {
		for _, c := range b.columns {
			c.setNull(int(e.Row))
		}
	}
	slices.SortStableFunc(errs, func(a, b modelmanager.RowError) int { return int(a.Row - b.Row) })
	b.rows = rows
	return b.recordAs(s.nullable), errs, nil
}

// setNull turns a value that is there already into a null.
func (c *column) setNull(i int) {
	if len(c.valid) == 0 {
		c.valid = appendOnes(c.valid[:0], c.length)
	}
	if c.valid[i>>3]>>(i&7)&1 == 1 {
		c.valid = setBit(c.valid, i, false)
		c.nulls++
	}
}

// matchColumns finds the schema's columns in an answer.
func (s *Schema) matchColumns(answer *arrow.Schema) ([]int, error) {
	order := make([]int, len(s.keys))
	for i := range order {
		order[i] = -1
	}
	for at, field := range answer.Fields() {
		i, known := s.index[field.Name]
		switch {
		case !known && s.positional(answer):
			return nil, s.wrongWidth(answer.NumFields())
		case !known:
			return nil, s.unknownPrediction(field.Name)
		case order[i] >= 0:
			return nil, badAnswer("the answer has the prediction %s twice", field.Name)
		}
		order[i] = at
	}
	for i, at := range order {
		if at < 0 {
			return nil, badAnswer("the answer lacks the prediction %s; it has: %s", s.keys[i].name, fieldNames(answer))
		}
	}
	return order, nil
}

// positional tells whether an answer's columns have no names of their own, but
// numbers: a bare array that was made a frame.
func (s *Schema) positional(answer *arrow.Schema) bool {
	if answer.NumFields() == len(s.keys) {
		return false
	}
	for i, field := range answer.Fields() {
		switch field.Name {
		case "", fmt.Sprint(i), fmt.Sprintf("V%d", i+1), fmt.Sprintf("X%d", i+1):
		default:
			return false
		}
	}
	return true
}

func fieldNames(schema *arrow.Schema) string {
	text := ""
	for i, field := range schema.Fields() {
		if i == 8 {
			return text + " …"
		}
		if i > 0 {
			text += ", "
		}
		text += field.Name
	}
	if text == "" {
		return "no columns"
	}
	return text
}

// castFault says why values of a type can't be a prediction; "" if they can.
func (r *rule) castFault(t arrow.DataType) string {
	if d, ok := t.(*arrow.DictionaryType); ok {
		t = d.ValueType
	}
	ok, hint := false, ""
	switch r.kind {
	case boolKind:
		ok = t.ID() == arrow.BOOL
		if arrow.IsInteger(t.ID()) {
			hint = ": answer true or false (in Python, .astype(bool))"
		}
	case intKind:
		ok = arrow.IsInteger(t.ID()) || arrow.IsFloating(t.ID()) || r.long && isText(t)
		if t.ID() == arrow.BOOL {
			hint = ": answer 0 or 1 (in Python, .astype(int)), or make the prediction a boolean"
		}
	case floatKind:
		ok = arrow.IsInteger(t.ID()) || arrow.IsFloating(t.ID())
		if t.ID() == arrow.BOOL {
			hint = ": answer 0 or 1 (in Python, .astype(float)), or make the prediction a boolean"
		} else if isText(t) {
			hint = ": predict instead of predict_proba? It answers labels"
		}
		if width, is := listWidth(t); is && width == 2 {
			hint = ": predict_proba? take [:, 1]"
		}
	case stringKind:
		ok = isText(t)
		if arrow.IsInteger(t.ID()) || arrow.IsFloating(t.ID()) {
			hint = ": turn them into strings yourself, so that 1 and 1.0 can't be confused"
		}
	case dateKind:
		ok = isText(t) || t.ID() == arrow.DATE32 || t.ID() == arrow.DATE64 || t.ID() == arrow.TIMESTAMP
	case timeKind:
		ok = isText(t) || t.ID() == arrow.TIMESTAMP
	case arrayKind:
		list, is := t.(arrow.ListLikeType)
		if !is || t.ID() == arrow.MAP {
			break
		}
		if fault := r.item.castFault(list.Elem()); fault != "" {
			return "its items: " + fault
		}
		ok = true
	}
	if ok || t.ID() == arrow.NULL {
		return ""
	}
	return fmt.Sprintf("the answer's values are of type %s, and it needs %s%s", t, r.noun(), hint)
}

func isText(t arrow.DataType) bool {
	switch t.ID() {
	case arrow.STRING, arrow.LARGE_STRING, arrow.STRING_VIEW:
		return true
	}
	return false
}

func listWidth(t arrow.DataType) (int, bool) {
	list, ok := t.(*arrow.FixedSizeListType)
	if !ok {
		return 0, false
	}
	return int(list.Len()), true
}

// cell checks and appends value i of an array whose type castFault allowed.
func (b *Builder) cell(column int, c *column, a arrow.Array, i int) {
	if a.IsNull(i) {
		b.putNull(column, c)
		return
	}
	switch a := a.(type) {
	case *array.Float64:
		b.castFloat(column, c, a.Value(i))
	case *array.Float32:
		b.castFloat(column, c, float64(a.Value(i)))
	case *array.Float16:
		b.castFloat(column, c, float64(a.Value(i).Float32()))
	case *array.Int64:
		b.castInt(column, c, a.Value(i))
	case *array.Int32:
		b.castInt(column, c, int64(a.Value(i)))
	case *array.Int16:
		b.castInt(column, c, int64(a.Value(i)))
	case *array.Int8:
		b.castInt(column, c, int64(a.Value(i)))
	case *array.Uint64:
		b.castUint(column, c, a.Value(i))
	case *array.Uint32:
		b.castInt(column, c, int64(a.Value(i)))
	case *array.Uint16:
		b.castInt(column, c, int64(a.Value(i)))
	case *array.Uint8:
		b.castInt(column, c, int64(a.Value(i)))
	case *array.Boolean:
		b.putBool(column, c, a.Value(i))
	case array.StringLike:
		b.castText(column, c, a.Value(i))
	case *array.Date32:
		b.putDate(column, c, int32(a.Value(i)))
	case *array.Date64:
		b.castMicros(column, c, int64(a.Value(i))*1000)
	case *array.Timestamp:
		b.castTime(column, c, a, i)
	case *array.Dictionary:
		b.cell(column, c, a.Dictionary(), a.GetValueIndex(i))
	case array.ListLike:
		b.castList(column, c, a, i)
	default:
		b.problem(column, "values of type %s can't be read", a.DataType())
	}
}

func (b *Builder) castFloat(column int, c *column, v float64) {
	switch {
	case v != v:
		b.problem(column, "is NaN: answer null (None, NA) for an unknown value, and make the prediction nullable")
	case c.rule.kind == floatKind:
		b.putFloat(column, c, v, nil)
	case whole(v) && v >= -1<<63 && v < 1<<63:
		b.putInt(column, c, int64(v))
	default:
		b.problem(column, "%s is not an integer", shownFloat(v, nil))
	}
}

func (b *Builder) castInt(column int, c *column, v int64) {
	if c.rule.kind == floatKind {
		b.putFloat(column, c, float64(v), nil)
		return
	}
	b.putInt(column, c, v)
}

func (b *Builder) castUint(column int, c *column, v uint64) {
	switch {
	case c.rule.kind == floatKind:
		b.putFloat(column, c, float64(v), nil)
	case v > 1<<63-1:
		b.problem(column, "%d is beyond 64 bits with a sign", v)
	default:
		b.putInt(column, c, int64(v))
	}
}

func (b *Builder) castText(column int, c *column, text string) {
	if c.rule.kind != intKind {
		b.putText(column, c, []byte(text))
		return
	}
	b.longText(column, c, []byte(text))
}

func (b *Builder) castTime(column int, c *column, a *array.Timestamp, i int) {
	unit := a.DataType().(*arrow.TimestampType).Unit
	v := int64(a.Value(i))
	switch unit {
	case arrow.Nanosecond:
		micros := v / 1000
		if v%1000 < 0 {
			micros-- // down, as everywhere
		}
		v = micros
	case arrow.Millisecond, arrow.Second:
		scale := int64(1000)
		if unit == arrow.Second {
			scale = microsPerSecond
		}
		if v > 1<<62/scale || v < -1<<62/scale {
			b.problem(column, "a date-time lies between the years 0001 and 9999 in UTC")
			return
		}
		v *= scale
	}
	b.castMicros(column, c, v)
}

func (b *Builder) castMicros(column int, c *column, micros int64) {
	switch {
	case c.rule.kind == timeKind:
		b.putTime(column, c, micros)
	case micros%microsPerDay != 0:
		b.problem(column, "has a time of day, and the prediction is a date")
	case micros/microsPerDay < minDay || micros/microsPerDay > maxDay:
		b.problem(column, "a date lies between the years 0001 and 9999")
	default:
		b.putDate(column, c, int32(micros/microsPerDay))
	}
}

func (b *Builder) castList(column int, c *column, a array.ListLike, i int) {
	r := c.rule
	start, end := a.ValueOffsets(i)
	n := int(end - start)
	switch {
	case r.length > 0 && n != r.length:
		b.problem(column, "has %d items: it needs exactly %d", n, r.length)
		return
	case r.length <= 0 && n > r.maxItems:
		b.problem(column, "has %d items: it may have %d at the most", n, r.maxItems)
		return
	}
	values := a.ListValues()
	for j := range n {
		known := len(b.problems)
		b.cell(column, c.child, values, int(start)+j)
		for k := known; k < len(b.problems); k++ {
			b.problems[k].Message = r.itemName(j) + ": " + b.problems[k].Message
		}
	}
	if b.problems != nil {
		// The row is refused: truncate takes the items back.
		return
	}
	if r.length <= 0 {
		c.offsets = append(c.offsets, int32(c.child.length))
	}
	c.grown()
}
