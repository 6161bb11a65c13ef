package cli

import (
	"github.com/spf13/cobra"

	"modelmanager.dev/internal/spec"
)

func newSchema(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of model.yaml, for editors",
		Args:  exactly(),
		RunE: func(*cobra.Command, []string) error {
			_, err := g.Out.Write(append(spec.Schema(), '\n'))
			return err
		},
	}
}
