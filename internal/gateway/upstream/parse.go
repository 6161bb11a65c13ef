package upstream

import "modelmanager.dev/internal/http1"

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
	if reason := line[12:]; len(reason) > 0 && (reason[0] != ' ' || !http1.IsValue(reason)) {
		return 0, 0, false
	}
	return int(line[7] - '0'), status, true
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
		if http1.EqualFold(name, "content-length") {
			return contentLength
		}
	case len("Transfer-Encoding"):
		if http1.EqualFold(name, "transfer-encoding") {
			return transferEncoding
		}
	case len("Connection"):
		if http1.EqualFold(name, "connection") {
			return connection
		}
		if http1.EqualFold(name, "keep-alive") {
			return hopByHop
		}
	case len("Trailer"):
		if http1.EqualFold(name, "trailer") || http1.EqualFold(name, "upgrade") {
			return hopByHop
		}
	case len("TE"):
		if http1.EqualFold(name, "te") {
			return hopByHop
		}
	case len("Proxy-Connection"):
		if http1.EqualFold(name, "proxy-connection") {
			return hopByHop
		}
	case len("Proxy-Authenticate"):
		if http1.EqualFold(name, "proxy-authenticate") {
			return hopByHop
		}
	}
	return ordinary
}

// clip keeps what an error shows of a peer's bytes short.
func clip(b []byte) []byte { return b[:min(len(b), 80)] }
