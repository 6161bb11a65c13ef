package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"modelmanager.dev"
)

func newJobsCancel(g *global) *cobra.Command {
	var data bool
	command := &cobra.Command{
		Use:   "cancel JOB",
		Short: "Cancel a job; with --data, delete a finished one's data",
		Args:  exactly("JOB"),
		RunE: func(command *cobra.Command, args []string) error {
			api, err := g.client()
			if err != nil {
				return err
			}
			if err := api.CancelJob(command.Context(), args[0], data); err != nil {
				return err
			}
			job, err := api.Job(command.Context(), args[0])
			if err != nil {
				return err
			}
			return g.show(job, func(w io.Writer) { fmt.Fprintln(w, cancelledText(job, data)) })
		},
	}
	command.Flags().BoolVar(&data, "data", false, "delete the data of a finished job, and keep its manifest")
	return command
}

// cancelledText says what a cancellation came to: a job may have ended before.
func cancelledText(job modelmanager.Job, data bool) string {
	switch {
	case job.State.Final() && data:
		return fmt.Sprintf("the data of job %s is deleted; its manifest is kept", job.ID)
	case job.State == modelmanager.JobCancelled || !job.State.Final():
		return fmt.Sprintf("job %s is cancelled", job.ID)
	}
	return fmt.Sprintf("job %s had ended before: %s", job.ID, job.State)
}
