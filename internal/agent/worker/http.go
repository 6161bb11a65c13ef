package worker

import (
	"context"

	"modelmanager.dev"
)

func openHTTP(ctx context.Context, o *Options, log *Log, argv, env []string) (*process, session, error) {
	return nil, nil, modelmanager.Errorf(modelmanager.CodeNotServed, "run.http: not yet")
}
