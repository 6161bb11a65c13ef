package http1

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"
)

const (
	readBuffer = 4 << 10
	// A buffer that grew beyond this for one answer is not kept.
	keepBuffer = 64 << 10
	// net/http, too, takes fewer for the end of the connection.
	fewBytes = 4
)

// What a connection is doing.
const (
	idle   int32 = iota // waiting for a request
	busy                // answering one
	closed              // ended by Shutdown
)

// conn is one connection with one request at a time.
type conn struct {
	server   *Server
	raw      net.Conn
	accepted time.Time
	state    atomic.Int32
	served   atomic.Bool // a request has been answered

	in    []byte // in[r:w] is unread
	r, w  int
	limit time.Time // the deadline for reading that raw has; zero: none

	head     head
	body     body
	response response
	out      []byte // of the response
	held     []byte // of its body
}

var endOfHead = []byte("\r\n\r\n")

// serve answers requests until the connection ends, or is handed over.
func (c *conn) serve() {
	defer c.server.forget(c)
	for {
		end := c.readHead()
		if end < 0 {
			break
		}
		if !c.state.CompareAndSwap(idle, busy) {
			return // it is closed already
		}
		if end == 0 || !c.head.read(c.in[c.r:end], c.server.Takes) {
			c.handOver()
			return
		}
		c.r = end
		if !c.answer() {
			break
		}
		c.served.Store(true)
		c.state.Store(idle)
		if c.server.closing.Load() {
			break
		}
	}
	_ = c.raw.Close()
}

// readHead returns where the next request's head ends; 0 if it arrived
// incomplete, as hardly any does; −1 if the connection ended.
func (c *conn) readHead() int {
	if !c.await() {
		return -1
	}
	if c.served.Load() {
		// Old callers end a body with line breaks that they don't count.
		for few := c.r + fewBytes; c.r < few && (c.in[c.r] == '\r' || c.in[c.r] == '\n'); {
			c.r++
		}
		if c.r == c.w && !c.await() {
			return -1
		}
	}
	i := bytes.Index(c.in[c.r:c.w], endOfHead)
	if i < 0 {
		return 0
	}
	return c.r + i + len(endOfHead)
}

// await reads until there are a few bytes, and tells whether there are: fewer are no
// beginning of a request. (The first may have been found by a look whether the
// caller is there.) Of a new connection any will do, for net/http to answer.
func (c *conn) await() bool {
	for c.w-c.r < fewBytes {
		c.w = copy(c.in, c.in[c.r:c.w])
		c.r = 0
		c.limitReading()
		n, err := c.raw.Read(c.in[c.w:])
		c.w += n
		if err != nil {
			return c.w > 0 && !c.served.Load()
		}
	}
	return true
}

// limitReading sets until when the next request has to come. To set it costs
// more than to read the head, so that it may be a tenth early.
func (c *conn) limitReading() {
	patience := c.server.Rest.IdleTimeout
	if !c.served.Load() {
		patience = c.server.Rest.ReadHeaderTimeout
	}
	if patience <= 0 {
		if !c.limit.IsZero() {
			c.setLimit(time.Time{})
		}
		return
	}
	now := time.Now()
	if left := c.limit.Sub(now); left < patience-patience/10 || left > patience {
		c.setLimit(now.Add(patience))
	}
}

func (c *conn) setLimit(deadline time.Time) {
	c.limit = deadline
	_ = c.raw.SetReadDeadline(deadline)
}

// unread takes in what was read too early: at most a byte.
func (c *conn) unread(early []byte) {
	if c.w+len(early) > len(c.in) {
		c.in = append(c.in, make([]byte, readBuffer)...)
	}
	c.w += copy(c.in[c.w:], early)
}

// handOver gives the connection to net/http's server, with what is unread.
func (c *conn) handOver() {
	c.setLimit(time.Time{})
	c.server.handed.give(&replayed{Conn: c.raw, unread: c.in[c.r:c.w]})
}

// answer lets the handler answer the request whose head has been read. It tells
// whether another one may follow.
func (c *conn) answer() (again bool) {
	defer func() {
		if cause := recover(); cause != nil {
			again = false
			if cause != http.ErrAbortHandler {
				c.server.Logger.Error("a handler panicked", "path", c.head.request.URL.Path, "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
			}
		}
	}()
	here, length := int64(c.w-c.r), c.head.request.ContentLength
	ctx := &requestContext{conn: c, read: here >= length, next: here > length}
	defer ctx.end()
	c.body = body{conn: c, ctx: ctx, left: length}
	request := c.head.request.WithContext(ctx)
	request.Body = &c.body
	request.RemoteAddr = c.remote()
	c.response.reset(c, ctx)
	c.server.Handler.ServeHTTP(&c.response, request)
	ctx.end()
	return c.finish() && !ctx.gone
}

// Of a body that the handler didn't read: what is read on its behalf, so that
// the connection can be kept, and how long the caller may take to send it.
const (
	maxUnread   = 256 << 10
	unreadLimit = 5 * time.Second
	// How long a caller that still sends may take to read an answer.
	lingerFor = 500 * time.Millisecond
)

// finish reads what is left of the request, and sends what is left of the answer.
func (c *conn) finish() (again bool) {
	if c.body.left > 0 && c.body.left <= maxUnread && !c.body.cut {
		c.setLimit(time.Now().Add(unreadLimit))
		if _, err := io.Copy(io.Discard, &c.body); err != nil {
			c.response.close = true
		}
	}
	if c.head.last || c.body.left > 0 && !c.body.cut || c.server.closing.Load() {
		c.response.close = true
	}
	if !c.response.finish() {
		return false
	}
	if cap(c.out) > keepBuffer {
		c.out = nil
	}
	if c.body.left > 0 && !c.body.cut {
		c.linger()
	}
	return !c.response.close && !c.body.cut
}

// linger goes on reading from a caller that still sends, for a while: closing a
// connection with bytes unread resets it, and the caller could lose the answer.
func (c *conn) linger() {
	if half, ok := c.raw.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	c.setLimit(time.Now().Add(lingerFor))
	_, _ = io.Copy(io.Discard, &c.body)
}

// remote is the caller's address.
func (c *conn) remote() string {
	if c.head.request.RemoteAddr == "" {
		c.head.request.RemoteAddr = c.raw.RemoteAddr().String()
	}
	return c.head.request.RemoteAddr
}

// body is the body of the request under way.
type body struct {
	conn *conn
	ctx  *requestContext
	left int64
	cut  bool // the caller didn't send it all
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	c, n := b.conn, 0
	if c.r < c.w {
		n = copy(p, c.in[c.r:c.w])
		c.r += n
	} else {
		var err error
		if n, err = c.raw.Read(p); n == 0 && err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			b.cut = true
			return 0, err
		}
		if b.left == int64(n) {
			b.ctx.bodyRead()
		}
	}
	if b.left -= int64(n); b.left == 0 {
		return n, io.EOF
	}
	return n, nil
}

// Close implements io.Closer.
func (b *body) Close() error { return nil }

// replayed is a connection some of whose bytes have been read already.
type replayed struct {
	net.Conn
	unread []byte
}

// Read implements net.Conn.
func (r *replayed) Read(p []byte) (int, error) {
	if len(r.unread) > 0 {
		n := copy(p, r.unread)
		if r.unread = r.unread[n:]; len(r.unread) == 0 {
			r.unread = nil
		}
		return n, nil
	}
	return r.Conn.Read(p)
}

// ReadFrom implements io.ReaderFrom, with which files are sent without a copy.
func (r *replayed) ReadFrom(source io.Reader) (int64, error) {
	if direct, ok := r.Conn.(io.ReaderFrom); ok {
		return direct.ReadFrom(source)
	}
	return io.Copy(struct{ io.Writer }{r.Conn}, source)
}

// CloseWrite ends the connection's sending side, as net/http does before it
// closes one whose caller still sends.
func (r *replayed) CloseWrite() error {
	if half, ok := r.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
