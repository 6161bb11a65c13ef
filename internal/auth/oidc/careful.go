package oidc

import (
	"errors"
	"fmt"
	"net/http"

	"golang.org/x/time/rate"
)

// errAway says that the issuer couldn't be asked, as opposed to what it answered.
var errAway = errors.New("the issuer doesn't answer")

// How often an issuer is asked at most: tokens that are signed with made-up
// keys each make us look for new ones.
const (
	asksASecond = 1
	asksAtOnce  = 5
)

// careful asks an issuer not too often, and makes every failure errAway.
type careful struct {
	next  http.RoundTripper
	limit *rate.Limiter
}

func newCareful(next http.RoundTripper) *careful {
	return &careful{next: next, limit: rate.NewLimiter(asksASecond, asksAtOnce)}
}

// RoundTrip implements http.RoundTripper.
func (c *careful) RoundTrip(r *http.Request) (*http.Response, error) {
	if !c.limit.Allow() {
		return nil, fmt.Errorf("%w: it was asked too often", errAway)
	}
	response, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAway, err)
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("%w: it answered %s", errAway, response.Status)
	}
	return response, nil
}

// CloseIdleConnections lets http.Client end the connections that are kept.
func (c *careful) CloseIdleConnections() {
	if next, ok := c.next.(interface{ CloseIdleConnections() }); ok {
		next.CloseIdleConnections()
	}
}
