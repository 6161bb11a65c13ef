// Package local is auth on one machine: whoever can reach the server, which is
// on loopback unless its operator says otherwise, is the same, and may do all.
package local

import (
	"context"

	"modelmanager.dev/internal/auth"
)

// Name is everybody's.
const Name = "local"

// Everybody is one identity that may do everything.
type Everybody struct{}

// Authenticate implements auth.Authenticator. Tokens are ignored.
func (Everybody) Authenticate(context.Context, string) (auth.Identity, error) {
	return auth.Identity{Name: Name}, nil
}

// Authorize implements auth.Authorizer.
func (Everybody) Authorize(context.Context, auth.Identity, auth.Action) (auth.Decision, error) {
	return auth.Decision{Allowed: true}, nil
}
