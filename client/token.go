package client

import (
	"context"
	"os"
	"strings"

	"modelmanager.dev"
)

// TokenSource returns the bearer token to send now; "" sends none. It is asked
// before each call, by many goroutines.
type TokenSource func(ctx context.Context) (string, error)

// WithToken sends a bearer token with every call.
func WithToken(token string) Option {
	return WithTokenSource(func(context.Context) (string, error) { return token, nil })
}

// WithTokenSource sends the token that source returns with every call.
func WithTokenSource(source TokenSource) Option { return func(c *Client) { c.token = source } }

// TokenFile reads a token from a file before each call, as tokens that a
// cluster mounts are replaced there while a program runs.
func TokenFile(path string) TokenSource {
	return func(context.Context) (string, error) {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", modelmanager.Errorf(modelmanager.CodeUnauthenticated, "reading the token: %w", err)
		}
		token := strings.TrimSpace(string(data))
		if token == "" {
			return "", modelmanager.Errorf(modelmanager.CodeUnauthenticated, "reading the token: %s is empty", path)
		}
		return token, nil
	}
}
