package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"modelmanager.dev"
	"modelmanager.dev/client"
)

type modelsListOptions struct {
	*global
	owner  string
	labels []string
	serve  string
	health string
	limit  int
}

func newModelsList(g *global) *cobra.Command {
	o := &modelsListOptions{global: g}
	command := &cobra.Command{
		Use:     "list [WORD…]",
		Aliases: []string{"ls"},
		Short:   "List models, or those in which every word occurs",
		RunE: func(command *cobra.Command, args []string) error {
			return o.run(command.Context(), strings.Join(args, " "))
		},
	}
	flags := command.Flags()
	flags.StringVar(&o.owner, "owner", "", "only this owner's")
	flags.StringArrayVarP(&o.labels, "label", "l", nil, "only with this label, name=value; repeatable")
	flags.StringVar(&o.serve, "serve", "", "only those that serve realtime, or batch")
	flags.StringVar(&o.health, "health", "", "only those that are healthy, idle, starting, degraded or unhealthy")
	flags.IntVar(&o.limit, "limit", 500, "at most so many")
	return command
}

func (o *modelsListOptions) run(ctx context.Context, text string) error {
	api, err := o.client()
	if err != nil {
		return err
	}
	labels, err := parseLabels(o.labels)
	if err != nil {
		return err
	}
	query := client.ModelQuery{Text: text, Owner: o.owner, Labels: labels, Serve: modelmanager.Mode(o.serve), Health: modelmanager.HealthState(o.health)}
	var list modelmanager.ModelList
	for len(list.Models) < o.limit {
		query.Limit = min(o.limit-len(list.Models), 500)
		page, err := api.Models(ctx, query)
		if err != nil {
			return err
		}
		list.Models = append(list.Models, page.Models...)
		list.NextPageToken = page.NextPageToken
		if page.NextPageToken == "" {
			break
		}
		query.PageToken = page.NextPageToken
	}
	return o.show(list, func(w io.Writer) {
		if len(list.Models) == 0 {
			fmt.Fprintln(w, "no models")
			return
		}
		var rows [][]string
		for _, m := range list.Models {
			rows = append(rows, []string{m.Name, trafficText(m.Traffic.Now()), healthText(m.Health), labelsText(m.Labels), m.Owner, m.Summary})
		}
		table(w, []string{"MODEL", "VERSION", "HEALTH", "LABELS", "OWNER", "SUMMARY"}, rows)
		if list.NextPageToken != "" {
			fmt.Fprintf(w, "… there are more; narrow the search, or raise --limit\n")
		}
	})
}
