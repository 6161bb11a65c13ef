// Package peers lets the servers of one installation ask each other what they
// have of something: calls under way, say, since a version may go to zero only
// when no server has a call for it; or what became of calls lately.
package peers

import "context"

// Peer is another server.
type Peer struct {
	URL string // of its internal listener: http://10.0.0.7:8081
	// Fading servers take no new calls: they start, end or are unwell. What they
	// say counts, and their silence says nothing.
	Fading bool
}

// Finder finds the other servers.
type Finder interface {
	// Peers returns the servers that there are beside this one. An error says
	// that they aren't known.
	Peers(ctx context.Context) ([]Peer, error)
}

// None is the Finder of a server that has no others beside it.
type None struct{}

// Peers implements Finder.
func (None) Peers(context.Context) ([]Peer, error) { return nil, nil }
