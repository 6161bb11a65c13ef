package cli

import (
	"context"

	"github.com/spf13/cobra"
)

type logsOptions struct {
	*global
	version, lines int
}

func newLogs(g *global) *cobra.Command {
	o := &logsOptions{global: g}
	command := &cobra.Command{
		Use:   "logs MODEL",
		Short: "Write what a model's workers have logged",
		Args:  exactly("MODEL"),
		RunE: func(command *cobra.Command, args []string) error {
			return o.run(command.Context(), args[0])
		},
	}
	flags := command.Flags()
	flags.IntVar(&o.version, "version", 0, "of this version; default: the one with the largest share of traffic")
	flags.IntVar(&o.lines, "lines", 100, "the last so many")
	return command
}

func (o *logsOptions) run(ctx context.Context, model string) error {
	api, err := o.client()
	if err != nil {
		return err
	}
	version := o.version
	if version == 0 {
		info, err := api.Model(ctx, model)
		if err != nil {
			return err
		}
		version = max(info.Traffic.Now().Largest(), 1)
	}
	logs, err := api.Logs(ctx, model, version, o.lines)
	if err != nil {
		return err
	}
	defer logs.Close()
	return o.showLines(logs)
}
