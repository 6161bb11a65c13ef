package upstream

import (
	"errors"
	"io"
	"syscall"
)

// errNotSilent is the error of a kept connection that had ended, or had brought
// bytes that nobody asked for, before the request was sent: they would be taken
// for its answer.
var errNotSilent = errors.New("the kept connection is not open and silent")

// turn is a request and the wait for its answer, in one visit to the poller. By
// net.Conn it would be three, and the read that comes right behind the write is
// always too early.
type turn struct {
	step  func(fd uintptr) bool // made once: a closure would be allocated per use
	asked bool
	sent  int
	n     int   // bytes of the answer that were read
	err   error // a syscall.Errno, io.EOF or errNotSilent
}

// takeTurn sends what is composed and reads the first bytes of the answer. If
// not all could be sent at once, it sends what it can, and c.got is false.
func (c *conn) takeTurn() (sent int, err error) {
	t := &c.turn
	t.asked, t.sent, t.n, t.err = false, 0, 0, nil
	for {
		err = c.sys.Read(t.step)
		if err == nil {
			err = t.err
		}
		if err == nil || !c.patient(err) {
			break
		}
	}
	switch {
	case err == errNotSilent:
		return 0, err
	case err != nil:
		return t.sent, failure(c.ctx, err)
	}
	c.got = t.n > 0
	c.w = t.n
	return t.sent, nil
}

// step is called when the poller has been told to notice what comes from now
// on, and again whenever something has come. It returns whether the turn is over.
func (c *conn) step(fd uintptr) bool {
	t := &c.turn
	if !t.asked {
		t.asked = true
		if c.reused {
			if n, err := syscall.Read(int(fd), c.in[:1]); n >= 0 || err != syscall.EAGAIN {
				t.err = errNotSilent
				return true
			}
		}
		n, err := syscall.Write(int(fd), c.out)
		t.sent = max(n, 0)
		if err != nil && err != syscall.EAGAIN && err != syscall.EINTR {
			t.err = err
		}
		return t.err != nil || t.sent < len(c.out)
	}
	n, err := syscall.Read(int(fd), c.in[:min(len(c.in), c.pool.limits.Head)])
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return false
	case err != nil:
		t.err = err
	case n == 0:
		t.err = io.EOF
	default:
		t.n = n
	}
	return true
}
