package worker

import "context"

// Start starts what answers rows for a spec, and waits until it has loaded; the
// reason why it can't be is the error. The caller closes it.
func Start(ctx context.Context, options Options) (Predictor, error) {
	if options.Spec.Run.Job != nil {
		return NewJob(options), nil
	}
	supervisor := NewSupervisor(options)
	if err := supervisor.WaitReady(ctx); err != nil {
		supervisor.Close() // what went wrong is known already
		return nil, err
	}
	return supervisor, nil
}
