package dataset

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// csvCell is a cell within its record. Of a quoted cell it is what stands
// between the quotes.
type csvCell struct {
	start, end int32
	quoted     bool
	doubled    bool // has doubled quotes, to be undone
}

// splitRecord cuts a record into cells, appended to cells. ok is false if text
// follows a closing quote; such a cell's end is where that text ends.
func splitRecord(cells []csvCell, raw []byte, delim byte, quotes bool) (_ []csvCell, ok bool) {
	if !quotes {
		return splitPlain(cells, raw, delim), true
	}
	ok = true
	for i := 0; ; {
		cell := csvCell{start: int32(i)}
		if i < len(raw) && raw[i] == '"' {
			cell.start, cell.quoted = int32(i+1), true
			if i, cell.doubled = closingQuote(raw, i+1); i < 0 {
				i = len(raw) + 1 // can't be: the scanner has seen the closing one
			}
			cell.end = int32(i - 1)
			if i < len(raw) && raw[i] != delim {
				ok = false
				i += indexOrEnd(raw[i:], delim)
				cell.end = int32(i)
			}
		} else {
			i += indexOrEnd(raw[i:], delim)
			cell.end = int32(i)
		}
		cells = append(cells, cell)
		if i >= len(raw) {
			return cells, ok
		}
		i++
	}
}

// closingQuote returns what follows the quote that closes a cell, and whether
// there are doubled quotes before it.
func closingQuote(raw []byte, i int) (after int, doubled bool) {
	for {
		k := bytes.IndexByte(raw[i:], '"')
		if k < 0 {
			return -1, doubled
		}
		if i += k + 1; i == len(raw) || raw[i] != '"' {
			return i, doubled
		}
		doubled = true
		i++
	}
}

func indexOrEnd(text []byte, c byte) int {
	if i := bytes.IndexByte(text, c); i >= 0 {
		return i
	}
	return len(text)
}

// splitPlain cuts a record without quotes, eight bytes at a time: cells are
// short, so that a call per cell would cost more than the search.
func splitPlain(cells []csvCell, raw []byte, delim byte) []csvCell {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	pattern := ones * uint64(delim)
	start, i := 0, 0
	for ; i+8 <= len(raw); i += 8 {
		x := binary.LittleEndian.Uint64(raw[i:]) ^ pattern
		// Exactly the bytes that are zero get their high bit: no carry crosses.
		found := ^((x&^highs + (highs - ones)) | x) & highs
		for ; found != 0; found &= found - 1 {
			at := i + bits.TrailingZeros64(found)>>3
			cells = append(cells, csvCell{start: int32(start), end: int32(at)})
			start = at + 1
		}
	}
	for ; i < len(raw); i++ {
		if raw[i] == delim {
			cells = append(cells, csvCell{start: int32(start), end: int32(i)})
			start = i + 1
		}
	}
	return append(cells, csvCell{start: int32(start), end: int32(len(raw))})
}

// text returns the cell's text. A cell with doubled quotes is written to
// scratch, which is returned grown.
func (c csvCell) text(raw, scratch []byte) (text, _ []byte) {
	text = raw[c.start:c.end]
	if !c.doubled {
		return text, scratch
	}
	begin := len(scratch)
	for {
		k := bytes.IndexByte(text, '"')
		if k < 0 || k+1 == len(text) {
			scratch = append(scratch, text...)
			return scratch[begin:], scratch
		}
		scratch = append(scratch, text[:k+1]...)
		text = text[k+1:]
		if text[0] == '"' {
			text = text[1:]
		}
	}
}
