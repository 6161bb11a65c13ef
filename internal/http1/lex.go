package http1

import "bytes"

// text is what lexing works on: the bytes of a buffer, or a copy of them.
type text interface{ ~string | ~[]byte }

// HeaderField reads "Name: value", without its line break. Folded lines are
// refused.
func HeaderField[T text](line T) (name, value T, ok bool) {
	colon := 0
	for colon < len(line) && isToken[line[colon]] {
		colon++
	}
	if colon == 0 || colon == len(line) || line[colon] != ':' {
		return name, value, false
	}
	start, end := colon+1, len(line)
	for start < end && isSpace(line[start]) {
		start++
	}
	for start < end && isSpace(line[end-1]) {
		end--
	}
	return line[:colon], line[start:end], IsValue(line[start:end])
}

func isSpace(b byte) bool { return b == ' ' || b == '\t' }

// isToken marks the bytes of names (RFC 9110, 5.6.2).
var isToken = func() (set [256]bool) {
	for _, b := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		set[b] = true
	}
	return set
}()

// IsValue tells whether bytes may be a field's value: no control characters but
// the tab.
func IsValue[T text](value T) bool {
	for i := range len(value) {
		if b := value[i]; b < ' ' && b != '\t' || b == 0x7f {
			return false
		}
	}
	return true
}

// Decimal reads digits alone: no sign, no space, at most 18 of them.
func Decimal[T text](value T) (int64, bool) {
	if len(value) == 0 || len(value) > 18 {
		return 0, false
	}
	var n int64
	for i := range len(value) {
		b := value[i]
		if b < '0' || b > '9' {
			return 0, false
		}
		n = n*10 + int64(b-'0')
	}
	return n, true
}

// Hexadecimal reads the size of a chunk, at most 15 digits.
func Hexadecimal[T text](value T) (int64, bool) {
	if len(value) == 0 || len(value) > 15 {
		return 0, false
	}
	var n int64
	for i := range len(value) {
		b := value[i]
		switch {
		case '0' <= b && b <= '9':
			b -= '0'
		case 'a' <= b && b <= 'f':
			b -= 'a' - 10
		case 'A' <= b && b <= 'F':
			b -= 'A' - 10
		default:
			return 0, false
		}
		n = n<<4 | int64(b)
	}
	return n, true
}

// EqualFold compares a name with a lower-case one.
func EqualFold[T text](name T, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := range len(lower) {
		b := name[i]
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		if b != lower[i] {
			return false
		}
	}
	return true
}

// HasToken looks for a token in a list of them, in lower case.
func HasToken(value []byte, token string) bool {
	for part := range bytes.SplitSeq(value, []byte(",")) {
		if EqualFold(bytes.Trim(part, " \t"), token) {
			return true
		}
	}
	return false
}
