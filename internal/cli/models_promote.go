package cli

import (
	"github.com/spf13/cobra"

	"modelmanager.dev"
)

func newModelsPromote(g *global) *cobra.Command {
	var reason string
	command := &cobra.Command{
		Use:   "promote MODEL VERSION",
		Short: "Send all of a model's traffic to a version",
		Args:  exactly("MODEL", "VERSION"),
		RunE: func(command *cobra.Command, args []string) error {
			version, err := parseVersion(args[1])
			if err != nil {
				return err
			}
			api, err := g.client()
			if err != nil {
				return err
			}
			wanted := modelmanager.All(version)
			wanted.Reason = reason
			traffic, err := api.SetTraffic(command.Context(), args[0], wanted)
			if err != nil {
				return err
			}
			return g.showTraffic(args[0], traffic)
		},
	}
	command.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return command
}
