package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func newModelsRetire(g *global) *cobra.Command {
	var reason string
	command := &cobra.Command{
		Use:   "retire MODEL",
		Short: "End a model: it answers no more; its versions are kept",
		Args:  exactly("MODEL"),
		RunE: func(command *cobra.Command, args []string) error {
			api, err := g.client()
			if err != nil {
				return err
			}
			if err := api.Retire(command.Context(), args[0], reason); err != nil {
				return err
			}
			return g.show(map[string]string{"retired": args[0]}, func(w io.Writer) {
				fmt.Fprintf(w, "%s is retired\n", args[0])
			})
		},
	}
	command.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return command
}
