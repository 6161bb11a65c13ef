package http1

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Config is all that a Server is told.
type Config struct {
	// Takes tells whether a request is one that Handler answers; path is as it was
	// sent, without the query. Requests without a body, and those of HEAD and
	// CONNECT, are never taken.
	Takes func(method, path string) bool
	// Handler answers what was taken. It must not change the request's Header and
	// URL: a connection's later requests may share them.
	Handler http.Handler
	// Rest answers everything else. Its ReadHeaderTimeout and IdleTimeout are
	// those of all connections. The Server starts and ends it.
	Rest   *http.Server
	Logger *slog.Logger // nil: slog.Default
}

// Server serves HTTP/1.1. Its methods may be called by many goroutines.
type Server struct {
	Config
	handed *handed
	date   atomic.Pointer[date]

	closing atomic.Bool

	mu       sync.Mutex
	conns    map[*conn]struct{} // those that were not handed over
	listener net.Listener
}

// New makes a Server.
func New(config Config) *Server {
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	return &Server{
		Config: config, conns: map[*conn]struct{}{},
		handed: &handed{conns: make(chan net.Conn), closed: make(chan struct{})},
	}
}

// Pause after connections couldn't be accepted, for want of descriptors say.
const (
	acceptPause    = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// Serve answers on a listener until Shutdown or Close, and then returns
// http.ErrServerClosed. It may be called once.
func (s *Server) Serve(listener net.Listener) error {
	s.mu.Lock()
	if s.closing.Load() || s.listener != nil {
		s.mu.Unlock()
		return http.ErrServerClosed
	}
	s.listener = listener
	s.mu.Unlock()
	s.handed.address = listener.Addr()
	rest := make(chan error, 1)
	go func() { rest <- s.Rest.Serve(s.handed) }()
	err := s.accept(listener)
	if !s.closing.Load() {
		_ = s.Close()
	}
	if ended := <-rest; !errors.Is(ended, http.ErrServerClosed) {
		err = ended
	}
	return err
}

func (s *Server) accept(listener net.Listener) error {
	pause := acceptPause
	for {
		raw, err := listener.Accept()
		switch {
		case err == nil:
			pause = acceptPause
			if c := s.newConn(raw); c != nil {
				go c.serve()
			}
		case s.closing.Load():
			return http.ErrServerClosed
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			s.Logger.Error("a connection couldn't be accepted", "error", err, "again in", pause)
			time.Sleep(pause)
			pause = min(2*pause, maxAcceptPause)
		}
	}
}

// newConn takes in a connection; nil, and it is closed, where the server closes.
func (s *Server) newConn(raw net.Conn) *conn {
	c := &conn{server: s, raw: raw, accepted: time.Now(), in: make([]byte, readBuffer)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		_ = raw.Close()
		return nil
	}
	s.conns[c] = struct{}{}
	return c
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// How long a new connection may take to send its first request while the server
// shuts down, and how often Shutdown looks; as net/http has it.
const (
	newFor    = 5 * time.Second
	lookEvery = 10 * time.Millisecond
)

// Shutdown accepts no more connections, closes those that wait for a request,
// and waits for the requests under way, until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopAccepting()
	s.Rest.SetKeepAlivesEnabled(false)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for s.closeIdle(time.Now().Add(-newFor)) > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), s.Close())
		}
	}
	return s.Rest.Shutdown(ctx)
}

// Close ends everything at once.
func (s *Server) Close() error {
	s.stopAccepting()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.raw.Close()
	}
	s.mu.Unlock()
	return s.Rest.Close()
}

func (s *Server) stopAccepting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing.Store(true)
	if s.listener != nil {
		_ = s.listener.Close()
	}
}

// closeIdle closes the connections that wait for a request, but for those that
// had none yet and are newer than a time. It returns how many are left.
func (s *Server) closeIdle(newer time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if (c.served.Load() || c.accepted.Before(newer)) && c.state.CompareAndSwap(idle, closed) {
			_ = c.raw.Close()
			delete(s.conns, c)
		}
	}
	return len(s.conns)
}

// date is the value of the field Date for one second.
type date struct {
	second int64
	value  string
}

// now returns the time as the field Date has it.
func (s *Server) now() string {
	now := time.Now()
	if d := s.date.Load(); d != nil && d.second == now.Unix() {
		return d.value
	}
	d := &date{now.Unix(), now.UTC().Format(http.TimeFormat)}
	s.date.Store(d)
	return d.value
}

// handed is the net.Listener of net/http's server: it gets connections whose
// first bytes have been read already.
type handed struct {
	address net.Addr
	conns   chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

// Accept implements net.Listener.
func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handed) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr implements net.Listener.
func (h *handed) Addr() net.Addr { return h.address }

// give hands a connection over.
func (h *handed) give(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.closed:
		_ = c.Close()
	}
}
