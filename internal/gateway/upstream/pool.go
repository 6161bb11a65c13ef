// Package upstream is the gateway's HTTP/1.1 client: it sends one request at a
// time over a pooled connection, in the caller's own goroutine, and parses
// answers strictly. net/http's Transport spends more on its two goroutines per
// connection than everything else that a proxy does.
package upstream

import (
	"context"
	"net"
	"sync"
	"time"
)

// Limits bounds what a peer can make us hold.
type Limits struct {
	Head  int           // bytes of an answer's status line and header fields; default 32 KiB
	Idle  int           // connections kept for later; default 128
	Dial  time.Duration // how long connecting may take; default 2 s
	Watch time.Duration // how long an exchange runs before the caller's context is watched; default 20 ms
}

func (l Limits) withDefaults() Limits {
	if l.Head <= 0 {
		l.Head = 32 << 10
	}
	if l.Idle <= 0 {
		l.Idle = 128
	}
	if l.Dial <= 0 {
		l.Dial = 2 * time.Second
	}
	if l.Watch <= 0 {
		l.Watch = 20 * time.Millisecond
	}
	return l
}

// Pool keeps connections to one address. Its methods may be called by many
// goroutines at once.
type Pool struct {
	network, address string
	limits           Limits

	mu     sync.Mutex
	idle   []*conn // the most recently used last
	closed bool
}

// NewPool makes a pool of connections to an address; network is "unix" or "tcp".
func NewPool(network, address string, limits Limits) *Pool {
	return &Pool{network: network, address: address, limits: limits.withDefaults()}
}

// Request is what to send. Header holds whole lines, "Name: value\r\n"; the
// pool adds Host and Content-Length. The caller vouches for its bytes.
type Request struct {
	Method   string
	Path     string
	Header   []byte
	Body     []byte
	Deadline time.Time // of the whole exchange
}

// Do sends a request and returns the head of its answer; the caller reads the
// body and then closes the answer. A kept connection that turns out to be dead
// is replaced by a new one, once: to a peer that closed it while idle, the
// request was never given. Errors are of type *Failure.
func (p *Pool) Do(ctx context.Context, request *Request) (*Response, error) {
	for c := p.take(); c != nil; c = p.take() {
		err := c.exchange(ctx, request)
		if err == nil {
			return &c.response, nil
		}
		c.discard()
		if err == errNotSilent {
			continue
		}
		if !c.stale(err) {
			return nil, err
		}
		p.CloseIdle(time.Time{}) // the others are most probably as dead
	}
	c, err := p.dial(ctx, request.Deadline)
	if err != nil {
		return nil, err
	}
	if err := c.exchange(ctx, request); err != nil {
		c.discard()
		return nil, err
	}
	return &c.response, nil
}

func (p *Pool) dial(ctx context.Context, deadline time.Time) (*conn, error) {
	limit := time.Now().Add(p.limits.Dial)
	short := limit.Before(deadline)
	if !short {
		limit = deadline
	}
	dialer := net.Dialer{Deadline: limit}
	raw, err := dialer.DialContext(ctx, p.network, p.address)
	if err != nil {
		kind := Dead
		switch {
		case ctx.Err() != nil:
			kind = Cancelled
		case isTimeout(err) && !short:
			kind = TimedOut
		}
		return nil, &Failure{Kind: kind, Err: err}
	}
	return newConn(raw, p), nil
}

// take removes the most recently used connection, or returns nil. Whether it is
// still good shows when it is used.
func (p *Pool) take() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	if last < 0 {
		return nil
	}
	c := p.idle[last]
	p.idle[last] = nil
	p.idle = p.idle[:last]
	c.reused = true
	return c
}

// put keeps a connection whose exchange ended cleanly.
func (p *Pool) put(c *conn) {
	p.mu.Lock()
	if !p.closed && len(p.idle) < p.limits.Idle {
		p.idle = append(p.idle, c)
		c = nil
	}
	p.mu.Unlock()
	if c != nil {
		_ = c.raw.Close()
	}
}

// CloseIdle closes the kept connections that were last used before a time;
// with the zero time, all of them.
func (p *Pool) CloseIdle(before time.Time) {
	p.mu.Lock()
	keep := len(p.idle)
	for i, c := range p.idle {
		if !before.IsZero() && !c.lastUsed.Before(before) {
			keep = i // the oldest come first
			break
		}
	}
	old := append([]*conn(nil), p.idle[:keep]...)
	p.idle = append(p.idle[:0], p.idle[keep:]...)
	p.mu.Unlock()
	for _, c := range old {
		_ = c.raw.Close()
	}
}

// Close closes the kept connections, and those in use once their exchange ends.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.CloseIdle(time.Time{})
}
