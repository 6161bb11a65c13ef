package upstream

import (
	"bytes"
	"context"
	"io"
	"net"
	"strconv"
	"syscall"
	"time"
)

const (
	readBuffer = 4 << 10
	// Up to this size a body is copied behind its head, for one system call.
	joinBody = 32 << 10
	// A buffer that grew beyond this for one exchange is not kept.
	keepBuffer = 64 << 10
	maxInterim = 8 // answers 1xx before the final one
)

// past is a deadline that ends every call under way.
var past = time.Unix(1, 0)

// conn is one connection with one exchange at a time.
type conn struct {
	raw      net.Conn
	sys      syscall.RawConn // nil: raw isn't the system's
	pool     *Pool
	lastUsed time.Time
	reused   bool

	in   []byte // in[head:] is scratch of the body; in[r:w] is unread
	r, w int
	out  []byte
	turn turn

	limit time.Time // the deadline that raw has; zero: none

	// Of the exchange under way. Most take less than a few milliseconds, so
	// the first deadline is a short one, and only past it is the caller's
	// context watched: watching costs more than a syscall.
	ctx      context.Context
	deadline time.Time
	watching bool
	stop     func() bool
	got      bool // some byte of an answer has arrived

	response Response
}

func newConn(raw net.Conn, pool *Pool) *conn {
	c := &conn{raw: raw, pool: pool, in: make([]byte, readBuffer)}
	c.response.conn = c
	if s, ok := raw.(syscall.Conn); ok {
		c.sys, _ = s.SyscallConn()
	}
	c.turn.step = c.step
	return c
}

func (c *conn) setLimit(deadline time.Time) {
	c.limit = deadline
	_ = c.raw.SetDeadline(deadline)
}

// exchange sends a request and reads the head of the final answer.
func (c *conn) exchange(ctx context.Context, request *Request) error {
	c.ctx, c.deadline, c.watching, c.stop, c.got = ctx, request.Deadline, false, nil, false
	c.response.reset()
	first := time.Now().Add(c.pool.limits.Watch)
	if c.deadline.Before(first) {
		first = c.deadline
	}
	c.setLimit(first)

	rest := c.compose(request)
	sent, err := 0, error(nil)
	if c.sys != nil && len(rest) == 0 {
		if sent, err = c.takeTurn(); err == nil && c.got {
			return c.readHead()
		}
	}
	if err == nil {
		sent, err = c.send(sent, rest)
	}
	if err != nil {
		if sent == 0 || KindOf(err) != Dead {
			return err
		}
		// The peer may have answered early and stopped reading.
		c.response.last = true
		if c.readHead() == nil {
			return nil
		}
		return err
	}
	return c.readHead()
}

// compose puts the request into the buffer for sending, and returns what of a
// long body is to be sent after it.
func (c *conn) compose(request *Request) (rest []byte) {
	out := append(c.out[:0], request.Method...)
	out = append(out, ' ')
	out = append(out, request.Path...)
	out = append(out, " HTTP/1.1\r\nHost: agent\r\n"...)
	out = append(out, request.Header...)
	if len(request.Body) > 0 || request.Method != "GET" {
		out = append(out, "Content-Length: "...)
		out = strconv.AppendInt(out, int64(len(request.Body)), 10)
		out = append(out, "\r\n"...)
	}
	out = append(out, "\r\n"...)
	rest = request.Body
	if len(rest) <= joinBody {
		out = append(out, rest...)
		rest = nil
	}
	c.out = out
	return rest
}

// send sends what is composed, from a byte on, and the rest of a long body.
func (c *conn) send(from int, rest []byte) (int, error) {
	n, err := c.write(c.out[from:])
	sent := from + n
	if err != nil || len(rest) == 0 {
		return sent, err
	}
	n, err = c.write(rest)
	return sent + n, err
}

func (c *conn) write(p []byte) (int, error) {
	sent := 0
	for sent < len(p) {
		n, err := c.raw.Write(p[sent:])
		sent += n
		if err != nil && !c.patient(err) {
			return sent, failure(c.ctx, err)
		}
	}
	return sent, nil
}

func (c *conn) read(p []byte) (int, error) {
	for {
		n, err := c.raw.Read(p)
		if n > 0 {
			c.got = true
			return n, nil
		}
		if err == nil {
			continue
		}
		if !c.patient(err) {
			return 0, failure(c.ctx, err)
		}
	}
}

// patient tells whether an error was the first, short deadline; it then sets
// the real one and starts to watch the caller's context.
func (c *conn) patient(err error) bool {
	if c.watching || !isTimeout(err) || c.ctx.Err() != nil || !time.Now().Before(c.deadline) {
		return false
	}
	c.watching = true
	c.setLimit(c.deadline)
	raw := c.raw
	c.stop = context.AfterFunc(c.ctx, func() { _ = raw.SetDeadline(past) })
	return true
}

// readHead reads up to the final answer's head.
func (c *conn) readHead() error {
	for range maxInterim {
		c.r, c.w = c.compact(c.r, c.w)
		end, scanned := 0, 0
		for {
			if i := bytes.Index(c.in[scanned:c.w], crlfcrlf); i >= 0 {
				end = scanned + i + len(crlfcrlf)
				break
			}
			scanned = max(0, c.w-len(crlfcrlf)+1)
			if c.w >= c.pool.limits.Head {
				return broken("the head of the answer is longer than %d bytes", c.pool.limits.Head)
			}
			if c.w == len(c.in) {
				c.in = append(c.in, make([]byte, len(c.in))...)
			}
			n, err := c.read(c.in[c.w:min(len(c.in), c.pool.limits.Head)])
			if err != nil {
				return err
			}
			c.w += n
		}
		c.r = end
		if err := c.response.parse(c.in[:end]); err != nil {
			return err
		}
		if c.response.Status >= 200 {
			return c.response.begin(end)
		}
		c.response.reset()
	}
	return broken("more than %d interim answers", maxInterim)
}

// compact moves unread bytes to the front.
func (c *conn) compact(r, w int) (int, int) {
	if r == 0 {
		return r, w
	}
	return 0, copy(c.in, c.in[r:w])
}

// stale tells whether a failed exchange says no more than that the kept
// connection had been closed before it.
func (c *conn) stale(err error) bool {
	return c.reused && !c.got && KindOf(err) == Dead
}

// release ends an exchange: the connection is kept if it is clean.
func (c *conn) release(clean bool) {
	if c.stop != nil && !c.stop() {
		clean = false // the context ended; its deadline may land at any time
	}
	c.stop, c.ctx = nil, nil
	if !clean || c.r != c.w {
		_ = c.raw.Close()
		return
	}
	c.r, c.w = 0, 0
	if cap(c.out) > keepBuffer {
		c.out = nil
	}
	if cap(c.in) > keepBuffer {
		c.in = make([]byte, readBuffer)
	}
	c.lastUsed = time.Now()
	c.pool.put(c)
}

func (c *conn) discard() {
	if c.stop != nil {
		c.stop()
		c.stop = nil
	}
	_ = c.raw.Close()
}

// next reads one line of the framing, without its CRLF. It is valid until the
// next read.
func (c *conn) next(limit int) ([]byte, error) {
	base := c.response.head
	scanned := c.r
	for {
		if i := bytes.IndexByte(c.in[scanned:c.w], '\n'); i >= 0 {
			line := c.in[c.r : scanned+i]
			c.r = scanned + i + 1
			if len(line) == 0 || line[len(line)-1] != '\r' {
				return nil, broken("a line of the chunked answer doesn't end in CR LF")
			}
			return line[:len(line)-1], nil
		}
		if c.w-c.r > limit {
			return nil, broken("a line of the chunked answer is longer than %d bytes", limit)
		}
		unread := c.w - c.r
		if err := c.more(base); err != nil {
			return nil, err
		}
		scanned = c.r + unread // more may have moved the bytes
	}
}

// more reads into the scratch behind the head, making room first.
func (c *conn) more(base int) error {
	if c.r == c.w {
		c.r, c.w = base, base
	}
	if c.w == len(c.in) {
		if c.r > base {
			n := copy(c.in[base:], c.in[c.r:c.w])
			c.r, c.w = base, base+n
		}
		if c.w == len(c.in) {
			c.in = append(c.in, make([]byte, readBuffer)...)
		}
	}
	n, err := c.read(c.in[c.w:])
	if err != nil {
		return c.cut(err)
	}
	c.w += n
	return nil
}

// cut words the end of a connection in the midst of an answer.
func (c *conn) cut(err error) error {
	if f, ok := err.(*Failure); ok && f.Kind == Dead && f.Err == io.EOF {
		f.Err = io.ErrUnexpectedEOF
	}
	return err
}
