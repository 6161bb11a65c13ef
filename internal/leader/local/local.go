// Package local is leader for one server alone: it always leads.
package local

import "context"

// Alone is the Elector of a server that has no others beside it.
type Alone struct{}

// Run implements leader.Elector.
func (Alone) Run(ctx context.Context, lead func(context.Context) error) error {
	err := lead(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		<-ctx.Done() // lead had nothing more to do
	}
	return err
}
