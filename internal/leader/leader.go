// Package leader lets loops run once, however many servers there are.
package leader

import "context"

// Elector lets one of several servers lead at a time.
type Elector interface {
	// Run calls lead each time that this server becomes the leader, and returns
	// when ctx has ended and lead has returned.
	//
	// lead's context ends with ctx, or when this server can't be sure any more
	// that no other leads; lead returns soon then, and is called again once this
	// server leads again. Until lead has returned, no other server is let in on
	// purpose. An error of lead ends Run, unless its context had ended.
	Run(ctx context.Context, lead func(ctx context.Context) error) error
}
