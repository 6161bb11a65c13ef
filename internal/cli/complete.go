package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelmanager.dev/client"
)

// completeModels makes the shell's completion know the models of commands that
// take one first, if a server answers quickly.
func (g *global) completeModels(root *cobra.Command) {
	for _, command := range root.Commands() {
		g.completeModels(command)
		if _, arguments, _ := strings.Cut(command.Use, " "); !strings.HasPrefix(arguments, "MODEL") {
			continue
		}
		command.ValidArgsFunction = func(command *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return g.modelNames(command.Context(), begun), cobra.ShellCompDirectiveNoFileComp
		}
	}
}

func (g *global) modelNames(ctx context.Context, begun string) []string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	api, err := g.client()
	if err != nil {
		return nil
	}
	list, err := api.Models(ctx, client.ModelQuery{Text: begun, Limit: 100})
	if err != nil {
		return nil
	}
	var names []string
	for _, model := range list.Models {
		if strings.HasPrefix(model.Name, begun) {
			names = append(names, model.Name)
		}
	}
	return names
}
