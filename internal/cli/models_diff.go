package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"modelmanager.dev"
)

func newModelsDiff(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "diff MODEL FROM TO",
		Short: "Compare two versions: spec, artifact, metrics, predictions",
		Args:  exactly("MODEL", "FROM", "TO"),
		RunE: func(command *cobra.Command, args []string) error {
			return g.runModelsDiff(command.Context(), args)
		},
	}
}

func (g *global) runModelsDiff(ctx context.Context, args []string) error {
	from, err := parseVersion(args[1])
	if err != nil {
		return err
	}
	to, err := parseVersion(args[2])
	if err != nil {
		return err
	}
	api, err := g.client()
	if err != nil {
		return err
	}
	diff, err := api.Diff(ctx, args[0], from, to)
	if err != nil {
		return err
	}
	return g.show(diff, func(w io.Writer) { printDiff(w, diff) })
}

func printDiff(w io.Writer, diff modelmanager.Diff) {
	fmt.Fprintf(w, "%s: version %d → %d\n", diff.Model, diff.From, diff.To)
	if len(diff.Changes) == 0 {
		fmt.Fprintln(w, "spec      no change")
	}
	for _, change := range diff.Changes {
		mark := "spec     "
		if change.Breaking {
			mark = "BREAKING "
		}
		fmt.Fprintf(w, "%s %s\n", mark, oneLine(change.Message))
	}
	if diff.Artifact.Same {
		fmt.Fprintln(w, "artifact  the same")
	} else {
		fmt.Fprintf(w, "artifact  %s → %s\n", short(diff.Artifact.From), short(diff.Artifact.To))
	}
	for _, change := range diff.Training {
		fmt.Fprintf(w, "training  %s: %v → %v\n", change.Path, change.From, change.To)
	}
	for i, example := range diff.Examples {
		name := example.Name
		if name == "" {
			name = fmt.Sprint(i + 1)
		}
		fmt.Fprintf(w, "example   %s: %s → %s\n", name, example.From, example.To)
	}
	if diff.Problem != "" {
		fmt.Fprintf(w, "examples  %s\n", diff.Problem)
	}
}
