package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
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
			return g.show(map[string]string{"cancelled": args[0]}, func(w io.Writer) {
				fmt.Fprintf(w, "job %s is cancelled\n", args[0])
			})
		},
	}
	command.Flags().BoolVar(&data, "data", false, "delete the data of a finished job, and keep its manifest")
	return command
}
