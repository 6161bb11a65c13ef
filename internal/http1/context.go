package http1

import (
	"context"
	"errors"
	"net/http"
	"os"
	"sync"
	"time"
)

// requestContext ends when the caller goes away, or else with the request.
// Whether the caller is there is only watched from the first call of Done on:
// most requests are answered before anybody wants to know.
type requestContext struct {
	conn *conn
	next bool // the caller has sent a next request already, and so is there

	mu      sync.Mutex
	done    chan struct{} // nil until somebody wanted it
	err     error
	read    bool          // no byte that the connection has yet to give is of the body
	watched chan struct{} // closed when the watch has ended; nil: there was none
	early   []byte        // of the next request, what the watch has read
	gone    bool          // the caller is; to be read after end
}

var _ context.Context = (*requestContext)(nil)

// Deadline implements context.Context.
func (c *requestContext) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context.
func (c *requestContext) Value(key any) any {
	switch key {
	case http.ServerContextKey:
		return c.conn.server.Rest
	case http.LocalAddrContextKey:
		return c.conn.raw.LocalAddr()
	}
	return nil
}

// Err implements context.Context.
func (c *requestContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Done implements context.Context.
func (c *requestContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.err != nil {
			close(c.done)
		}
		c.watch()
	}
	return c.done
}

// bodyRead says that the rest of what the connection gives is not of the body:
// from now on it may be watched.
func (c *requestContext) bodyRead() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read = true
	c.watch()
}

// watch begins to watch the connection, if somebody wants to know and it can be.
// c.mu is held.
func (c *requestContext) watch() {
	if c.done == nil || !c.read || c.next || c.err != nil || c.watched != nil {
		return
	}
	c.watched = make(chan struct{})
	c.conn.setLimit(time.Time{})
	go c.look(c.watched)
}

// look waits for a byte of the next request, or the end of the connection.
func (c *requestContext) look(watched chan struct{}) {
	defer close(watched)
	var next [1]byte
	n, err := c.conn.raw.Read(next[:])
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case n > 0:
		c.early = next[:]
	case c.err == nil && !errors.Is(err, os.ErrDeadlineExceeded):
		c.gone = true
		c.cancel()
	}
}

// cancel ends the context; c.mu is held.
func (c *requestContext) cancel() {
	c.err = context.Canceled
	if c.done != nil {
		close(c.done)
	}
}

// end ends the context with its request, and the watch with it.
func (c *requestContext) end() {
	c.mu.Lock()
	if c.err == nil {
		c.cancel()
	}
	watched := c.watched
	c.watched = nil
	if watched != nil {
		c.conn.setLimit(past)
	}
	c.mu.Unlock()
	if watched != nil {
		<-watched
		c.conn.unread(c.early)
	}
}

// setLimit sets until when the connection may be read.
func (c *requestContext) setLimit(deadline time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn.setLimit(deadline)
}

// past is a deadline that ends every read under way.
var past = time.Unix(1, 0)
