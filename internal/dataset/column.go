package dataset

import (
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// column collects one column's values in the layout that Arrow wants, so that
// they become an array without being copied.
type column struct {
	rule   *rule
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

func newColumn(r *rule) *column {
	c := &column{rule: r}
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
	switch {
	case c.rule.dictionary || c.rule.kind == dateKind:
		c.codes = append(c.codes, 0)
	case c.rule.kind == boolKind:
		c.bits = setBit(c.bits, c.length, false)
	case c.rule.kind == floatKind:
		c.floats = append(c.floats, 0)
	case c.rule.kind == intKind || c.rule.kind == timeKind:
		c.ints = append(c.ints, 0)
	case c.rule.kind == stringKind:
		c.offsets = append(c.offsets, int32(len(c.bytes)))
	case c.rule.length > 0:
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
	switch {
	case c.rule.dictionary || c.rule.kind == dateKind:
		c.codes = c.codes[:length]
	case c.rule.kind == boolKind:
		c.bits = c.bits[:(length+7)>>3]
	case c.rule.kind == floatKind:
		c.floats = c.floats[:length]
	case c.rule.kind == intKind || c.rule.kind == timeKind:
		c.ints = c.ints[:length]
	case c.rule.kind == stringKind:
		c.offsets = c.offsets[:length]
		c.bytes = c.bytes[:c.end(length)]
	case c.rule.length > 0:
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

// data hands the column's memory over to Arrow; the column must not be used again.
func (c *column) data() *array.Data {
	var buffers [3]*memory.Buffer
	var children []arrow.ArrayData
	n := 2
	if c.nulls > 0 {
		buffers[0] = memory.NewBufferBytes(c.valid)
	}
	switch {
	case c.rule.dictionary || c.rule.kind == dateKind:
		buffers[1] = memory.NewBufferBytes(bytesOf(c.codes))
	case c.rule.kind == boolKind:
		buffers[1] = memory.NewBufferBytes(c.bits)
	case c.rule.kind == floatKind:
		buffers[1] = memory.NewBufferBytes(bytesOf(c.floats))
	case c.rule.kind == intKind || c.rule.kind == timeKind:
		buffers[1] = memory.NewBufferBytes(bytesOf(c.ints))
	case c.rule.kind == stringKind:
		buffers[1] = memory.NewBufferBytes(bytesOf(startingAtZero(c.offsets)))
		buffers[2] = memory.NewBufferBytes(c.bytes)
		n = 3
	case c.rule.length > 0:
		children, n = []arrow.ArrayData{c.child.data()}, 1
	default:
		buffers[1] = memory.NewBufferBytes(bytesOf(startingAtZero(c.offsets)))
		children = []arrow.ArrayData{c.child.data()}
	}
	if c.rule.dictionary {
		return array.NewDataWithDictionary(c.rule.arrow, c.length, buffers[:n], c.nulls, 0, c.rule.levelData)
	}
	return array.NewData(c.rule.arrow, c.length, buffers[:n], children, c.nulls, 0)
}

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
