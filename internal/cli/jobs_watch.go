package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"modelmanager.dev"
	"modelmanager.dev/client"
)

func newJobsWatch(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "watch JOB",
		Short: "Follow a job until it ends",
		Args:  exactly("JOB"),
		RunE: func(command *cobra.Command, args []string) error {
			api, err := g.client()
			if err != nil {
				return err
			}
			job, err := g.watch(command.Context(), api, args[0])
			if err != nil {
				return err
			}
			return g.conclude(job)
		},
	}
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return " (" + err.Error() + ")"
}

// watch shows a job's progress until it ends, over restarts of the server.
func (g *global) watch(ctx context.Context, api *client.Client, id string) (modelmanager.Job, error) {
	bar := newBar(g.Err, 1, "waiting")
	job, err := api.WatchJobOutages(ctx, id, bar.show, func(err error) {
		bar.clear()
		fmt.Fprintf(g.Err, "the connection to the server is lost%s; trying again until it is back, and the job goes on\n", because(err))
	})
	bar.end()
	if ctx.Err() != nil {
		fmt.Fprintf(g.Err, "the job goes on; mm jobs watch %s follows it, mm jobs cancel %s ends it\n", id, id)
	}
	return job, err
}
