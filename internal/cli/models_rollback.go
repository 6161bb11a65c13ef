package cli

import "github.com/spf13/cobra"

func newModelsRollback(g *global) *cobra.Command {
	var reason string
	command := &cobra.Command{
		Use:   "rollback MODEL",
		Short: "Return to the traffic before; again: one further back",
		Args:  exactly("MODEL"),
		RunE: func(command *cobra.Command, args []string) error {
			api, err := g.client()
			if err != nil {
				return err
			}
			traffic, err := api.Rollback(command.Context(), args[0], reason)
			if err != nil {
				return err
			}
			return g.showTraffic(args[0], traffic)
		},
	}
	command.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return command
}
