package dataset

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
	"unsafe"
)

// pow10 holds the powers of ten that a double holds exactly.
var pow10 = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// float consumes a number and returns the double nearest to it: ±Inf for one
// beyond a double's range. A mantissa below 2^53 and a power of ten up to 22
// are both exact doubles, so that one rounded operation gives the nearest;
// anything else goes through strconv.
func (s *scanner) float() (float64, bool) {
	data, start := s.data, s.pos
	i := start
	negative := i < len(data) && data[i] == '-'
	if negative {
		i++
	}
	var mantissa uint64
	first := i
	for ; i < len(data); i++ {
		d := data[i] - '0'
		if d > 9 {
			break
		}
		mantissa = mantissa*10 + uint64(d)
	}
	digits := i - first
	if digits == 0 || digits > 1 && data[first] == '0' {
		return 0, s.badNumber(first, digits)
	}
	decimals := 0
	if i < len(data) && data[i] == '.' {
		i++
		point := i
		for len(data)-i >= 8 {
			chunk := binary.LittleEndian.Uint64(data[i:])
			if !eightDigits(chunk) {
				break
			}
			mantissa = mantissa*1e8 + valueOfEight(chunk)
			i += 8
		}
		for ; i < len(data); i++ {
			d := data[i] - '0'
			if d > 9 {
				break
			}
			mantissa = mantissa*10 + uint64(d)
		}
		decimals = i - point
		if decimals == 0 {
			return 0, s.fail(i, "a number needs digits after its point")
		}
	}
	if i < len(data) && data[i]|0x20 == 'e' || digits+decimals > 19 || mantissa >= 1<<53 || decimals >= len(pow10) {
		return s.exactFloat(start, i)
	}
	s.pos = i
	v := float64(mantissa)
	if decimals > 0 {
		v /= pow10[decimals]
	}
	if negative {
		v = -v
	}
	return v, true
}

// eightDigits tells whether eight bytes are all decimal digits.
func eightDigits(chunk uint64) bool {
	const high = 0xf0f0f0f0f0f0f0f0
	return chunk&high|(chunk+0x0606060606060606)&high>>4 == 0x3333333333333333
}

// valueOfEight returns the value of eight digits, the first in the lowest byte:
// neighbours are joined to pairs, pairs to fours, and those to the whole.
func valueOfEight(chunk uint64) uint64 {
	chunk -= 0x3030303030303030
	chunk = chunk*10 + chunk>>8
	const pairs = 0x000000ff000000ff
	return (chunk&pairs*(100+1000000<<32) + chunk>>16&pairs*(1+10000<<32)) >> 32
}

// exactFloat reads the number at start, whose digits end at i.
func (s *scanner) exactFloat(start, i int) (float64, bool) {
	if !s.exponent(i) {
		return 0, false
	}
	text := s.data[start:s.pos]
	// The string lives no longer than the call, and nobody changes the bytes meanwhile.
	v, _ := strconv.ParseFloat(unsafe.String(&text[0], len(text)), 64)
	return v, true
}

// exponent consumes a number's exponent, if it has one.
func (s *scanner) exponent(i int) bool {
	data := s.data
	if i < len(data) && data[i]|0x20 == 'e' {
		i++
		if i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		first := i
		for i < len(data) && data[i]-'0' <= 9 {
			i++
		}
		if i == first {
			return s.fail(i, "a number needs digits after its e")
		}
	}
	s.pos = i
	return true
}

func (s *scanner) badNumber(first, digits int) bool {
	if digits == 0 {
		return s.fail(first, "a number needs digits after its sign")
	}
	return s.fail(first, "a number has no leading zeros")
}

// notFinite consumes NaN or an infinity, which are no JSON.
func (s *scanner) notFinite() (float64, bool) {
	rest := s.data[s.pos:]
	switch {
	case bytes.HasPrefix(rest, []byte("NaN")):
		s.pos += len("NaN")
		return math.NaN(), true
	case bytes.HasPrefix(rest, []byte("Infinity")):
		s.pos += len("Infinity")
		return math.Inf(1), true
	case bytes.HasPrefix(rest, []byte("-Infinity")):
		s.pos += len("-Infinity")
		return math.Inf(-1), true
	}
	return 0, false
}

// number consumes a number and returns its text.
func (s *scanner) number() ([]byte, bool) {
	start := s.pos
	if _, ok := s.float(); !ok {
		return nil, false
	}
	return s.data[start:s.pos], true
}
