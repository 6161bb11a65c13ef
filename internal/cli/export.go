package cli

import (
	"context"
	"encoding/json"
	"time"

	"github.com/spf13/cobra"

	"modelmanager.dev"
	"modelmanager.dev/client"
	"modelmanager.dev/internal/pipeline"
)

func newExport(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "export",
		Short: "Print all models, their versions and traffic, for mm restore",
		Long: `Print what the server has published, as JSON: every model, retired ones too, with
its versions (numbers, digests, specs, sources) and its traffic. The artifacts
themselves are not in it. With it, and the image registry or the archives or the
git repository, mm restore makes an empty server equal to this one.`,
		Args: exactly(),
		RunE: func(command *cobra.Command, _ []string) error {
			api, err := g.client()
			if err != nil {
				return err
			}
			state, err := pipeline.Export(command.Context(), exporter{api}, time.Now())
			if err != nil {
				return err
			}
			encoder := json.NewEncoder(g.Out)
			encoder.SetEscapeHTML(false)
			encoder.SetIndent("", " ")
			return encoder.Encode(state)
		},
	}
}

// exporter is the server whose state is exported.
type exporter struct{ *client.Client }

// Models implements pipeline.Exporter.
func (e exporter) Models(ctx context.Context, retired bool, pageToken string) (modelmanager.ModelList, error) {
	return e.Client.Models(ctx, client.ModelQuery{Retired: retired, Limit: 1000, PageToken: pageToken})
}
