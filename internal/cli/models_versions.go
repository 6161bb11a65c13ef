package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"modelmanager.dev"
)

type modelsVersionsOptions struct {
	*global
	limit int
}

func newModelsVersions(g *global) *cobra.Command {
	o := &modelsVersionsOptions{global: g}
	command := &cobra.Command{
		Use:   "versions MODEL",
		Short: "List a model's versions, newest first",
		Args:  exactly("MODEL"),
		RunE: func(command *cobra.Command, args []string) error {
			return o.run(command.Context(), args[0])
		},
	}
	command.Flags().IntVar(&o.limit, "limit", 20, "at most so many")
	return command
}

func (o *modelsVersionsOptions) run(ctx context.Context, model string) error {
	api, err := o.client()
	if err != nil {
		return err
	}
	list, err := api.Versions(ctx, model, o.limit, "")
	if err != nil {
		return err
	}
	return o.show(list, func(w io.Writer) {
		var rows [][]string
		for _, v := range list.Versions {
			rows = append(rows, []string{
				fmt.Sprint(v.Version), percentText(v), healthText(v.Health), ago(v.Created), v.By, v.ApprovedBy,
				short(v.Source.Commit), short(v.Digest),
			})
		}
		table(w, []string{"VERSION", "TRAFFIC", "HEALTH", "PUBLISHED", "BY", "APPROVED BY", "COMMIT", "DIGEST"}, rows)
	})
}

func percentText(v modelmanager.VersionInfo) string {
	if v.Percent == 0 {
		return "-"
	}
	return fmt.Sprintf("%d%%", v.Percent)
}

// short is a digest or a commit as people compare them.
func short(digest string) string {
	const prefix = len("sha256:")
	if len(digest) > prefix && digest[:prefix] == "sha256:" {
		digest = digest[prefix:]
	}
	return digest[:min(12, len(digest))]
}
