package dataset

import (
	"unsafe"
)

// column collects one column's values in the layout that Arrow wants, so that
// they become an array without being copied.
type column struct {
	rule *rule
	// quick is of numbers without rules but their bounds, which are copied here.
	quick            bool
	minimum, maximum float64

	length int
	nulls  int
	valid  []byte // a bitmap; empty until the first null

	bits    []byte    // booleans, as a bitmap
	floats  []float64 // numbers
	ints    []int64   // integers, and microseconds of date-times
	codes   []int32   // a dictionary's codes, and days of dates
	offsets []int32   // ends of strings and lists: offsets[i] is where value i ends
	bytes   []byte    // of strings
	child   *column   // items of arrays
}

// layout says which of a column's memory its values are in.
type layout uint8

const (
	floatLayout layout = iota
	intLayout
	codeLayout
	bitLayout
	textLayout
	listLayout
	fixedLayout
)

func (r *rule) layout() layout {
	switch {
	case r.dictionary || r.kind == dateKind:
		return codeLayout
	case r.kind == boolKind:
		return bitLayout
	case r.kind == floatKind:
		return floatLayout
	case r.kind == intKind || r.kind == timeKind:
		return intLayout
	case r.kind == stringKind:
		return textLayout
	case r.length > 0:
		return fixedLayout
	}
	return listLayout
}

func (c *column) layout() layout { return c.rule.stored }

func newColumn(r *rule) *column {
	c := &column{rule: r, quick: r.kind == floatKind && r.plain, minimum: r.minimum, maximum: r.maximum}
	if r.item != nil {
		c.child = newColumn(r.item)
	}
	return c
}

// grown counts a value that has just been appended.
func (c *column) grown() {
	if len(c.valid) > 0 {
		c.valid = setBit(c.valid, c.length, true)
	}
	c.length++
}

// appendNull appends a null; of a fixed-size list also the items it occupies.
func (c *column) appendNull() {
	switch c.layout() {
	case codeLayout:
		c.codes = append(c.codes, 0)
	case bitLayout:
		c.bits = setBit(c.bits, c.length, false)
	case floatLayout:
		c.floats = append(c.floats, 0)
	case intLayout:
		c.ints = append(c.ints, 0)
	case textLayout:
		c.offsets = append(c.offsets, int32(len(c.bytes)))
	case fixedLayout:
		for range c.rule.length {
			c.child.appendNull()
		}
	default:
		c.offsets = append(c.offsets, int32(c.child.length))
	}
	if len(c.valid) == 0 {
		c.valid = appendOnes(c.valid[:0], c.length)
	}
	c.valid = setBit(c.valid, c.length, false)
	c.length++
	c.nulls++
}

// truncate takes back all values from the one at length on.
func (c *column) truncate(length int) {
	for i := length; i < c.length && c.nulls > 0; i++ {
		if c.valid[i>>3]>>(i&7)&1 == 0 {
			c.nulls--
		}
	}
	if len(c.valid) > 0 {
		c.valid = c.valid[:(length+7)>>3]
	}
	c.length = length
	switch c.layout() {
	case codeLayout:
		c.codes = c.codes[:length]
	case bitLayout:
		c.bits = c.bits[:(length+7)>>3]
	case floatLayout:
		c.floats = c.floats[:length]
	case intLayout:
		c.ints = c.ints[:length]
	case textLayout:
		c.offsets = c.offsets[:length]
		c.bytes = c.bytes[:c.end(length)]
	case fixedLayout:
		c.child.truncate(length * c.rule.length)
	default:
		c.offsets = c.offsets[:length]
		c.child.truncate(c.end(length))
	}
}

// end returns where the first n values end.
func (c *column) end(n int) int {
	if n == 0 {
		return 0
	}
	return int(c.offsets[n-1])
}

func (c *column) text(i int) []byte { return c.bytes[c.end(i):c.end(i+1)] }

// startingAtZero turns ends into Arrow's offsets, which begin with a 0.
func startingAtZero(ends []int32) []int32 {
	ends = append(ends, 0)
	copy(ends[1:], ends)
	ends[0] = 0
	return ends
}

// bytesOf views numbers as the bytes they are in memory; all platforms that Go
// builds this for are little-endian, as Arrow wants them.
func bytesOf[T int32 | int64 | float64](values []T) []byte {
	if len(values) == 0 {
		return []byte{}
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&values[0])), len(values)*int(unsafe.Sizeof(values[0])))
}

// setBit sets bit i of a bitmap that holds i bits, or more.
func setBit(bitmap []byte, i int, v bool) []byte {
	if i>>3 >= len(bitmap) {
		bitmap = append(bitmap, 0)
	}
	if v {
		bitmap[i>>3] |= 1 << (i & 7)
	} else {
		bitmap[i>>3] &^= 1 << (i & 7)
	}
	return bitmap
}

// appendOnes appends n set bits to an empty bitmap.
func appendOnes(bitmap []byte, n int) []byte {
	for range n >> 3 {
		bitmap = append(bitmap, 0xff)
	}
	if n&7 > 0 {
		bitmap = append(bitmap, byte(1<<(n&7)-1))
	}
	return bitmap
}
