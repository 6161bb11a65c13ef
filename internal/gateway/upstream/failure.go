package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
)

// Kind says how an exchange failed, and so what may be done about it.
type Kind int

// Dead: the connection couldn't be made or ended before the answer did; an
// idempotent request may be sent elsewhere. TimedOut: the deadline has passed.
// Cancelled: the caller's context ended. Broken: the peer answered something
// that isn't HTTP, or lied about its length.
const (
	Dead Kind = iota + 1
	TimedOut
	Cancelled
	Broken
)

// String names the kind.
func (k Kind) String() string {
	switch k {
	case Dead:
		return "connection died"
	case TimedOut:
		return "deadline passed"
	case Cancelled:
		return "caller went away"
	case Broken:
		return "broken answer"
	}
	return "unknown failure"
}

// Failure is the error of an exchange.
type Failure struct {
	Kind Kind
	Err  error
}

// Error describes the failure.
func (f *Failure) Error() string { return f.Kind.String() + ": " + f.Err.Error() }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// KindOf returns the kind of an exchange's error; 0 for any other error.
func KindOf(err error) Kind {
	var f *Failure
	if errors.As(err, &f) {
		return f.Kind
	}
	return 0
}

func broken(format string, args ...any) error {
	return &Failure{Kind: Broken, Err: fmt.Errorf(format, args...)}
}

// failure classifies what a read or a write returned.
func failure(ctx context.Context, err error) error {
	switch {
	case !isTimeout(err):
		return &Failure{Kind: Dead, Err: err}
	case ctx.Err() != nil:
		return &Failure{Kind: Cancelled, Err: context.Cause(ctx)}
	}
	return &Failure{Kind: TimedOut, Err: err}
}

func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
