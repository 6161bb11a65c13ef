package dataset

import (
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// setUTF8 is SetString for text that nobody has checked.
func (b *Builder) setUTF8(feature int, text string) {
	if !utf8.ValidString(text) {
		if b.first(feature) {
			b.problem(feature, "%s is not valid UTF-8", quote([]byte(text)))
		}
		return
	}
	b.SetString(feature, []byte(text))
}

// whole checks a column as a whole, and returns it as an array of the rule's
// type; nil if a value is to be refused, or if it takes a closer look to tell.
func (c *castColumn) whole(r *rule) arrow.Array {
	rows := c.nulls.Len()
	if len(c.faults) > 0 {
		return nil
	}
	if c.allNull {
		if !r.nullable {
			return nil
		}
		return nullColumn(r, rows)
	}
	if c.nulls.NullN() > 0 && !r.nullable || c.index != nil && c.source.NullN() > 0 {
		return nil
	}
	if r.dictionary {
		return c.wholeCodes(r)
	}
	if !r.plain || c.index != nil {
		return nil
	}
	switch {
	case r.kind == floatKind && c.floats != nil:
		return c.wholeFloats(r)
	case r.kind == floatKind && c.ints != nil:
		c.floats = convert[int64, float64](c.ints)
		return c.wholeFloats(r)
	case r.kind == intKind && c.ints != nil:
		return c.wholeInts(r)
	case r.kind == boolKind && r.bools[0] && r.bools[1]:
		return c.source
	case r.kind == stringKind:
		return c.wholeTexts()
	case r.kind == dateKind && c.days != nil:
		return wholeDays(c)
	}
	return nil
}

// nullColumn makes a column of nulls alone; one of an enum keeps its levels.
func nullColumn(r *rule, rows int) arrow.Array {
	if !r.dictionary {
		return array.MakeArrayOfNull(memory.DefaultAllocator, r.arrow, rows)
	}
	buffers := []*memory.Buffer{
		memory.NewBufferBytes(make([]byte, (rows+7)/8)), memory.NewBufferBytes(make([]byte, 4*rows)),
	}
	return array.MakeFromData(array.NewDataWithDictionary(r.arrow, rows, buffers, rows, 0, r.levelData))
}

func (c *castColumn) wholeFloats(r *rule) arrow.Array {
	least, most := r.minimum, r.maximum
	if c.nulls.NullN() == 0 {
		for _, v := range c.floats {
			if !(v >= least && v <= most) {
				return nil
			}
		}
	} else {
		for i, v := range c.floats {
			if !(v >= least && v <= most) && c.nulls.IsValid(i) {
				return nil
			}
		}
	}
	if same, ok := c.source.(*array.Float64); ok {
		return same
	}
	return c.primitive(arrow.PrimitiveTypes.Float64, bytesOf(c.floats))
}

func (c *castColumn) wholeInts(r *rule) arrow.Array {
	least, most := r.least, r.most
	for i, v := range c.ints {
		if (v < least || v > most) && c.nulls.IsValid(i) {
			return nil
		}
	}
	if same, ok := c.source.(*array.Int64); ok {
		return same
	}
	return c.primitive(arrow.PrimitiveTypes.Int64, bytesOf(c.ints))
}

func wholeDays(c *castColumn) arrow.Array {
	for i, day := range c.days {
		if (day < minDay || day > maxDay) && c.nulls.IsValid(i) {
			return nil
		}
	}
	if same, ok := c.source.(*array.Date32); ok {
		return same
	}
	return c.primitive(arrow.FixedWidthTypes.Date32, bytesOf(c.days))
}

// wholeTexts takes short strings as they are, once they are known to be UTF-8.
func (c *castColumn) wholeTexts() arrow.Array {
	short, ok := c.source.(*array.String)
	if !ok {
		return nil
	}
	for i := range short.Len() {
		if short.IsValid(i) && !utf8.ValidString(short.Value(i)) {
			return nil
		}
	}
	return short
}

// wholeCodes finds every text among the levels of an enum.
func (c *castColumn) wholeCodes(r *rule) arrow.Array {
	if r.kind != stringKind || c.texts == nil {
		return nil
	}
	rows := c.nulls.Len()
	codes := make([]int32, rows)
	var distinct []int32
	if c.index != nil {
		distinct = make([]int32, c.texts.Len())
		for i := range distinct {
			code, ok := r.texts[c.texts.Value(i)]
			if !ok {
				return nil
			}
			distinct[i] = code
		}
	}
	for row := range codes {
		if c.nulls.IsNull(row) {
			continue
		}
		if c.index != nil {
			codes[row] = distinct[c.index[row]]
			continue
		}
		code, ok := r.texts[c.texts.Value(row)]
		if !ok {
			return nil
		}
		codes[row] = code
	}
	buffers := []*memory.Buffer{c.validity(), memory.NewBufferBytes(bytesOf(codes))}
	return array.MakeFromData(array.NewDataWithDictionary(r.arrow, rows, buffers, c.nulls.NullN(), 0, r.levelData))
}

// primitive makes an array of values that were converted.
func (c *castColumn) primitive(kind arrow.DataType, values []byte) arrow.Array {
	buffers := []*memory.Buffer{c.validity(), memory.NewBufferBytes(values)}
	return array.MakeFromData(array.NewData(kind, c.nulls.Len(), buffers, nil, c.nulls.NullN(), 0))
}

// validity copies which rows are null; nil if none is.
func (c *castColumn) validity() *memory.Buffer {
	if c.nulls.NullN() == 0 {
		return nil
	}
	var bitmap []byte
	for i := range c.nulls.Len() {
		bitmap = setBit(bitmap, i, c.nulls.IsValid(i))
	}
	return memory.NewBufferBytes(bitmap)
}
