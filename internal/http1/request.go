package http1

import (
	"bytes"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// head is a connection's last head that was taken. Callers send the same over
// and over, and then it needn't be read anew.
type head struct {
	raw     []byte        // what it was read from
	request *http.Request // without body and context
	last    bool          // the caller ends the connection after this request
}

// read reads a whole head, its final line break included. It tells whether the
// request is taken; if not, the head is as it was.
func (h *head) read(raw []byte, takes func(method, path string) bool) bool {
	if h.request != nil && bytes.Equal(raw, h.raw) {
		return true
	}
	text := string(raw) // one copy, of which all names and values are parts
	line, lines, _ := strings.Cut(text, "\r\n")
	request := requestLine(line, takes)
	if request == nil {
		return false
	}
	last, ok := readFields(request, lines)
	if !ok {
		return false
	}
	h.raw, h.request, h.last = append(h.raw[:0], raw...), request, last
	return true
}

// requestLine reads "POST /path?query HTTP/1.1"; nil if it isn't taken.
func requestLine(line string, takes func(method, path string) bool) *http.Request {
	method, rest, _ := strings.Cut(line, " ")
	target, protocol, _ := strings.Cut(rest, " ")
	if protocol != "HTTP/1.1" || method == http.MethodHead || method == http.MethodConnect {
		return nil
	}
	if !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") {
		return nil
	}
	for _, b := range []byte(target) {
		if b <= ' ' || b >= 0x7f || b == '#' {
			return nil
		}
	}
	path, _, _ := strings.Cut(target, "?")
	if !takes(method, path) {
		return nil
	}
	parsed, err := url.ParseRequestURI(target)
	if err != nil {
		return nil
	}
	return &http.Request{
		Method: method, URL: parsed, RequestURI: target, Proto: protocol, ProtoMajor: 1, ProtoMinor: 1, ContentLength: -1,
	}
}

// maxFields is how many fields a request may have to be taken.
const maxFields = 64

// readFields reads the lines behind the request's. It is not ok where there is
// anything about the body or the connection that isn't plain.
func readFields(request *http.Request, lines string) (last, ok bool) {
	count := strings.Count(lines, "\r\n") - 1 // the last line is empty
	if count > maxFields {
		return false, false
	}
	request.Header = make(http.Header, count)
	values := make([]string, 0, count)
	for {
		line, rest, _ := strings.Cut(lines, "\r\n")
		if line == "" {
			return last, request.Host != "" && request.ContentLength > 0
		}
		lines = rest
		name, value, ok := HeaderField(line)
		if !ok {
			return false, false
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		switch name {
		case "Host":
			if request.Host != "" || !isHost(value) {
				return false, false
			}
			request.Host = value
			continue
		case "Content-Length":
			n, ok := Decimal(value)
			if !ok || request.ContentLength >= 0 {
				return false, false
			}
			request.ContentLength = n
		case "Connection":
			last = EqualFold(value, "close")
			if !last && !EqualFold(value, "keep-alive") || request.Header[name] != nil {
				return false, false
			}
		case "Transfer-Encoding", "Trailer", "Te", "Upgrade", "Expect", "Http2-Settings", "Keep-Alive", "Proxy-Connection":
			return false, false
		}
		if have := request.Header[name]; have != nil {
			request.Header[name] = append(have, value)
			continue
		}
		values = append(values, value)
		request.Header[name] = values[len(values)-1 : len(values) : len(values)]
	}
}

// isHost tells whether a Host is a plain name or address, with a port or without.
func isHost(text string) bool {
	if text == "" {
		return false
	}
	for _, b := range []byte(text) {
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', strings.IndexByte(".-_:[]", b) >= 0:
		default:
			return false
		}
	}
	return true
}
