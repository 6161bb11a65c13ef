package upstream

import (
	"bytes"
	"io"

	"modelmanager.dev/internal/http1"
)

var crlfcrlf = []byte("\r\n\r\n")

// Field is one header field. Its bytes are valid until the answer is closed.
type Field struct {
	Name, Value []byte
}

// Response is an answer whose head has been read. Read gives its body, without
// its framing; Close must be called, and keeps the connection if the body was
// read to its end.
type Response struct {
	Status int
	Fields []Field // all but those of the framing and of the connection
	Length int64   // bytes of the body; −1: not told beforehand

	conn    *conn
	head    int // where the body's scratch begins
	framing framing
	left    int64 // of the body, or of the chunk
	opened  bool  // a chunk's data was read, its CR LF is due
	last    bool  // the connection ends with this answer
	done    bool  // the body has been read to its end
	failed  error
}

type framing int

const (
	byLength framing = iota
	byChunks
	byClose
)

func (r *Response) reset() {
	*r = Response{conn: r.conn, Fields: r.Fields[:0], last: false}
}

// parse reads a whole head, strictly: what two readers could take for two
// different answers is refused.
func (r *Response) parse(head []byte) error {
	line, rest, _ := bytes.Cut(head, crlf)
	minor, status, ok := statusLine(line)
	if !ok {
		return broken("the status line %q is none of HTTP/1", clip(line))
	}
	r.Status, r.Length = status, -1
	last := r.last || minor == 0
	chunked := false
	for len(rest) > len(crlf) {
		line, rest, _ = bytes.Cut(rest, crlf)
		name, value, ok := http1.HeaderField(line)
		if !ok {
			return broken("the header line %q is malformed", clip(line))
		}
		switch framingField(name) {
		case contentLength:
			n, ok := http1.Decimal(value)
			if !ok || r.Length >= 0 {
				return broken("the Content-Length %q is malformed or given twice", clip(value))
			}
			r.Length = n
		case transferEncoding:
			if chunked || minor == 0 || !bytes.EqualFold(value, []byte("chunked")) {
				return broken("the Transfer-Encoding %q is not understood", clip(value))
			}
			chunked = true
		case connection:
			if http1.HasToken(value, "close") {
				last = true
			}
		case hopByHop:
		default:
			r.Fields = append(r.Fields, Field{Name: name, Value: value})
		}
	}
	if chunked && r.Length >= 0 {
		return broken("the answer has both a Content-Length and a Transfer-Encoding")
	}
	r.last = last
	return r.frame(chunked)
}

// frame decides how the body ends.
func (r *Response) frame(chunked bool) error {
	bodiless := r.Status < 200 || r.Status == 204 || r.Status == 304
	switch {
	case r.Status == 101:
		return broken("the answer switches protocols, unasked")
	case bodiless && (chunked || r.Length > 0 && r.Status != 304):
		return broken("an answer with status %d has a body", r.Status)
	case bodiless:
		r.framing, r.Length = byLength, 0
	case chunked:
		r.framing = byChunks
	case r.Length >= 0:
		r.framing = byLength
	default:
		r.framing, r.last = byClose, true
	}
	r.left = max(r.Length, 0)
	return nil
}

// begin marks where the body starts, behind the head.
func (r *Response) begin(head int) error {
	r.head = head
	if r.framing == byLength && r.left == 0 {
		return r.finish()
	}
	return nil
}

// finish marks the body as read. Bytes behind it mean that the peer's framing
// can't be trusted, nor then can this body.
func (r *Response) finish() error {
	if r.conn.r != r.conn.w {
		r.failed = broken("the peer sent more than its answer")
		return r.failed
	}
	r.done = true
	return nil
}

// Read reads the body. The last bytes come with io.EOF. Any other error is a
// *Failure, and what was read is not a whole body.
func (r *Response) Read(p []byte) (int, error) {
	switch {
	case r.failed != nil:
		return 0, r.failed
	case r.done:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	var n int
	var err error
	switch r.framing {
	case byLength:
		n, err = r.readLength(p)
	case byChunks:
		n, err = r.readChunks(p)
	default:
		n, err = r.readToClose(p)
	}
	if err != nil {
		r.failed = err
	} else if r.done {
		err = io.EOF
	}
	return n, err
}

func (r *Response) readLength(p []byte) (int, error) {
	n, err := r.data(p)
	if err == nil && r.left == 0 {
		err = r.finish()
	}
	return n, err
}

// data reads at most left bytes, first from what is there already.
func (r *Response) data(p []byte) (int, error) {
	c := r.conn
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	var n int
	if c.r < c.w {
		n = copy(p, c.in[c.r:c.w])
		c.r += n
	} else if int64(len(p)) == r.left && r.framing == byLength && len(p) < readBuffer {
		// Through the scratch, so that a byte too many is seen.
		if err := c.more(r.head); err != nil {
			return 0, err
		}
		n = copy(p, c.in[c.r:c.w])
		c.r += n
	} else {
		var err error
		if n, err = c.read(p); err != nil {
			return 0, c.cut(err)
		}
	}
	r.left -= int64(n)
	return n, nil
}

func (r *Response) readToClose(p []byte) (int, error) {
	c := r.conn
	if c.r < c.w {
		n := copy(p, c.in[c.r:c.w])
		c.r += n
		return n, nil
	}
	n, err := c.read(p)
	if f, ok := err.(*Failure); ok && f.Err == io.EOF {
		r.done = true
		return 0, nil
	}
	return n, err
}

// Close ends the exchange.
func (r *Response) Close() {
	r.conn.release(r.done && !r.last && r.failed == nil)
}
