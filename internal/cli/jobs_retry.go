package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func newJobsRetry(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "retry JOB",
		Short: "Run only what failed or was rejected, as a new job",
		Args:  exactly("JOB"),
		RunE: func(command *cobra.Command, args []string) error {
			api, err := g.client()
			if err != nil {
				return err
			}
			job, err := api.RetryJob(command.Context(), args[0])
			if err != nil {
				return err
			}
			return g.show(job, func(w io.Writer) {
				fmt.Fprintln(w, job.ID)
			})
		},
	}
}
