package upstream

import "bytes"

var crlf = []byte("\r\n")

// statusLine reads "HTTP/1.1 200 OK"; the reason may be missing.
func statusLine(line []byte) (minor, status int, ok bool) {
	const start = "HTTP/1.x nnn"
	if len(line) < len(start) || string(line[:7]) != "HTTP/1." || line[8] != ' ' {
		return 0, 0, false
	}
	if line[7] != '0' && line[7] != '1' {
		return 0, 0, false
	}
	for _, digit := range line[9:12] {
		if digit < '0' || digit > '9' {
			return 0, 0, false
		}
		status = status*10 + int(digit-'0')
	}
	if status < 100 || status > 599 {
		return 0, 0, false
	}
	if reason := line[12:]; len(reason) > 0 && (reason[0] != ' ' || !isValue(reason)) {
		return 0, 0, false
	}
	return int(line[7] - '0'), status, true
}

// headerField reads "Name: value". Folded lines are refused.
func headerField(line []byte) (name, value []byte, ok bool) {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return nil, nil, false
	}
	name = line[:colon]
	for _, b := range name {
		if !isToken(b) {
			return nil, nil, false
		}
	}
	value = bytes.Trim(line[colon+1:], " \t")
	return name, value, isValue(value)
}

func isToken(b byte) bool {
	switch {
	case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		return true
	}
	switch b {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}
	return false
}

func isValue(value []byte) bool {
	for _, b := range value {
		if b < ' ' && b != '\t' || b == 0x7f {
			return false
		}
	}
	return true
}

// decimal reads digits alone: no sign, no space, at most 18 of them.
func decimal(value []byte) (int64, bool) {
	if len(value) == 0 || len(value) > 18 {
		return 0, false
	}
	var n int64
	for _, b := range value {
		if b < '0' || b > '9' {
			return 0, false
		}
		n = n*10 + int64(b-'0')
	}
	return n, true
}

// hexadecimal reads the size of a chunk, at most 15 digits.
func hexadecimal(value []byte) (int64, bool) {
	if len(value) == 0 || len(value) > 15 {
		return 0, false
	}
	var n int64
	for _, b := range value {
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

type special int

const (
	ordinary special = iota
	contentLength
	transferEncoding
	connection
	hopByHop
)

// framingField finds the fields that belong to the connection, not to the
// answer. The length is looked at first, since most names differ in it.
func framingField(name []byte) special {
	switch len(name) {
	case len("Content-Length"):
		if equalFold(name, "content-length") {
			return contentLength
		}
	case len("Transfer-Encoding"):
		if equalFold(name, "transfer-encoding") {
			return transferEncoding
		}
	case len("Connection"):
		if equalFold(name, "connection") {
			return connection
		}
		if equalFold(name, "keep-alive") {
			return hopByHop
		}
	case len("Trailer"):
		if equalFold(name, "trailer") || equalFold(name, "upgrade") {
			return hopByHop
		}
	case len("TE"):
		if equalFold(name, "te") {
			return hopByHop
		}
	case len("Proxy-Connection"):
		if equalFold(name, "proxy-connection") {
			return hopByHop
		}
	case len("Proxy-Authenticate"):
		if equalFold(name, "proxy-authenticate") {
			return hopByHop
		}
	}
	return ordinary
}

// equalFold compares a name with a lower-case one of the same length.
func equalFold(name []byte, lower string) bool {
	for i, b := range name {
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		if b != lower[i] {
			return false
		}
	}
	return true
}

// hasToken looks for a token in a list of them, in lower case.
func hasToken(value []byte, token string) bool {
	for part := range bytes.SplitSeq(value, []byte(",")) {
		part = bytes.Trim(part, " \t")
		if len(part) == len(token) && equalFold(part, token) {
			return true
		}
	}
	return false
}

// clip keeps what an error shows of a peer's bytes short.
func clip(b []byte) []byte { return b[:min(len(b), 80)] }
