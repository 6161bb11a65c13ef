package http1

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxHeld is how many bytes of an answer's body are held until its end is known,
// so that its length can be told before it.
const maxHeld = 4 << 10

// response is the http.ResponseWriter of a connection's request under way.
type response struct {
	conn   *conn
	ctx    *requestContext
	header http.Header
	status int   // 0: not told yet
	length int64 // of the body, as the handler says; −1: it doesn't
	sent   int64 // bytes of the body that were written
	typed  bool  // the handler says the body's type
	begun  bool  // the head is on its way
	chunks bool  // the body goes out in chunks
	close  bool  // the connection ends with this answer
	failed error
}

func (r *response) reset(c *conn, ctx *requestContext) {
	header := r.header
	if header == nil {
		header = make(http.Header, 8)
	}
	clear(header)
	*r = response{conn: c, ctx: ctx, header: header, length: -1}
	c.out, c.held = c.out[:0], c.held[:0]
}

// Header implements http.ResponseWriter.
func (r *response) Header() http.Header { return r.header }

// bodiless tells whether an answer with a status has no body.
func bodiless(status int) bool {
	return status == http.StatusNoContent || status == http.StatusNotModified
}

// WriteHeader implements http.ResponseWriter. There are no interim answers: a
// status below 200 is ignored.
func (r *response) WriteHeader(status int) {
	if r.status != 0 || status < 200 {
		return
	}
	r.status = status
	out := append(r.conn.out, "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(status), 10)
	out = append(out, ' ')
	out = append(out, http.StatusText(status)...)
	out = append(out, "\r\n"...)
	dated := false
	for name, values := range r.header {
		switch name {
		case "Content-Length":
			if n, ok := Decimal(values[0]); ok && len(values) == 1 {
				r.length = n
			}
			continue
		case "Transfer-Encoding", "Trailer":
			continue
		case "Connection":
			r.close = r.close || HasToken([]byte(values[0]), "close")
			continue
		case "Content-Type", "Content-Encoding": // what is encoded isn't looked at
			r.typed = true
		case "Date":
			dated = true
		}
		out = appendField(out, name, values)
	}
	if !dated {
		out = append(out, "Date: "...)
		out = append(out, r.conn.server.now()...)
		out = append(out, "\r\n"...)
	}
	r.conn.out = out
}

// appendField appends a field's lines. A name that is none is left out, and a line
// break in a value becomes a space: an answer can't be made two by what is in it.
func appendField(out []byte, name string, values []string) []byte {
	for i := range len(name) {
		if !isToken[name[i]] {
			return out
		}
	}
	for _, value := range values {
		if strings.ContainsAny(value, "\r\n") {
			value = strings.NewReplacer("\r", " ", "\n", " ").Replace(value)
		}
		out = append(out, name...)
		out = append(out, ": "...)
		out = append(out, value...)
		out = append(out, "\r\n"...)
	}
	return out
}

// begin ends the head; body is the beginning of what follows.
func (r *response) begin(body []byte) {
	r.begun = true
	out := r.conn.out
	if !r.typed && len(body) > 0 {
		out = appendField(out, "Content-Type", []string{http.DetectContentType(body)})
	}
	switch {
	case bodiless(r.status):
	case r.length >= 0:
		out = append(out, "Content-Length: "...)
		out = strconv.AppendInt(out, r.length, 10)
		out = append(out, "\r\n"...)
	default:
		r.chunks = true
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	}
	if r.close {
		out = append(out, "Connection: close\r\n"...)
	}
	r.conn.out = append(out, "\r\n"...)
}

// Write implements http.ResponseWriter.
func (r *response) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	switch {
	case r.failed != nil:
		return 0, r.failed
	case bodiless(r.status):
		return 0, http.ErrBodyNotAllowed
	}
	r.sent += int64(len(p))
	if r.length >= 0 && r.sent > r.length {
		return 0, http.ErrContentLength
	}
	if !r.begun && r.length < 0 && len(r.conn.held)+len(p) <= maxHeld {
		r.conn.held = append(r.conn.held, p...)
		return len(p), nil
	}
	if err := r.send(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// joinWrite is how long a piece of a body may be to be copied behind what goes
// out before it, for one system call.
const joinWrite = 64 << 10

// send writes what is held, and a further piece of the body.
func (r *response) send(p []byte) error {
	c := r.conn
	if !r.begun {
		if len(c.held) > 0 {
			r.begin(c.held)
		} else {
			r.begin(p)
		}
		c.out = r.appendPiece(c.out, c.held)
		c.held = c.held[:0]
	}
	if len(p) <= joinWrite {
		c.out = r.appendPiece(c.out, p)
		return r.flush()
	}
	if r.chunks {
		c.out = appendSize(c.out, len(p))
	}
	if err := r.flush(); err != nil {
		return err
	}
	if r.write(p); r.failed == nil && r.chunks {
		c.out = append(c.out, "\r\n"...)
	}
	return r.failed
}

// appendPiece appends a piece of the body, as its framing wants it.
func (r *response) appendPiece(out, piece []byte) []byte {
	if len(piece) == 0 {
		return out
	}
	if !r.chunks {
		return append(out, piece...)
	}
	out = append(appendSize(out, len(piece)), piece...)
	return append(out, "\r\n"...)
}

func appendSize(out []byte, n int) []byte {
	return append(strconv.AppendInt(out, int64(n), 16), "\r\n"...)
}

// flush writes what is to go out.
func (r *response) flush() error {
	if r.failed == nil && len(r.conn.out) > 0 {
		r.write(r.conn.out)
	}
	r.conn.out = r.conn.out[:0]
	return r.failed
}

func (r *response) write(p []byte) {
	if _, err := r.conn.raw.Write(p); err != nil {
		r.failed, r.close = err, true
	}
}

// finish sends what hasn't been, and tells whether the answer is as long as was
// told before it.
func (r *response) finish() bool {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if !r.begun {
		if r.length < 0 {
			r.length = r.sent
		}
		r.begin(r.conn.held)
		r.conn.out = r.appendPiece(r.conn.out, r.conn.held)
	}
	if r.chunks {
		r.conn.out = append(r.conn.out, "0\r\n\r\n"...)
	}
	whole := r.length < 0 || r.length == r.sent || bodiless(r.status)
	return r.flush() == nil && whole
}

// FlushError lets http.ResponseController send what is held.
func (r *response) FlushError() error {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	return r.send(nil)
}

// SetReadDeadline lets http.ResponseController bound the time that the request's
// body may take.
func (r *response) SetReadDeadline(deadline time.Time) error {
	r.ctx.setLimit(deadline)
	return nil
}
