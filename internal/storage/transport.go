package storage

import (
	"context"
	"net"
	"net/http"
	"time"
)

// Bounds of every exchange with a store.
const (
	dialTimeout = 10 * time.Second
	// stallTimeout ends a connection on which not a byte has come or gone for
	// so long, whatever it was waiting for: S3 says within seconds that it is
	// still putting a large object together.
	stallTimeout = 2 * time.Minute
	storeTries   = 4               // of one request
	maxStoreWait = 5 * time.Second // between two of them
)

// newTransport makes an HTTP transport that never hangs.
func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &stalling{Conn: c}, nil
		},
		TLSHandshakeTimeout:   dialTimeout,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConns:          200,
		MaxIdleConnsPerHost:   64,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
		DisableCompression:    true, // objects are as they are
	}
}

// stalling is a connection whose reads and writes fail when nothing moves.
type stalling struct{ net.Conn }

// Read reads what comes within the timeout.
func (c *stalling) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(stallTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write writes within the timeout. A read that waits for the answer meanwhile
// is given time, too.
func (c *stalling) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(stallTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
