package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelmanager.dev"
)

type modelsTrafficOptions struct {
	*global
	shadow  int
	reason  string
	history bool
}

func newModelsTraffic(g *global) *cobra.Command {
	o := &modelsTrafficOptions{global: g}
	command := &cobra.Command{
		Use:   "traffic MODEL [VERSION=PERCENT…]",
		Short: "Show a model's traffic, or set it: mm models traffic iris 7=90 8=10",
		Args:  atLeastOne,
		RunE: func(command *cobra.Command, args []string) error {
			return o.run(command.Context(), args[0], args[1:])
		},
	}
	flags := command.Flags()
	flags.IntVar(&o.shadow, "shadow", 0, "a version that gets a copy of every call")
	flags.StringVar(&o.reason, "reason", "", "why, for the history")
	flags.BoolVar(&o.history, "history", false, "show the last settings")
	return command
}

func (o *modelsTrafficOptions) run(ctx context.Context, model string, shares []string) error {
	api, err := o.client()
	if err != nil {
		return err
	}
	if o.history {
		history, err := api.TrafficHistory(ctx, model)
		if err != nil {
			return err
		}
		return o.show(history, func(w io.Writer) {
			var rows [][]string
			for _, t := range history.History {
				rows = append(rows, []string{t.At.Local().Format(time.DateTime), trafficText(t), t.By, t.Reason})
			}
			table(w, []string{"SINCE", "VERSIONS", "BY", "REASON"}, rows)
		})
	}
	if len(shares) == 0 {
		traffic, err := api.Traffic(ctx, model)
		if err != nil {
			return err
		}
		return o.showTraffic(model, traffic)
	}
	wanted := modelmanager.Traffic{Shadow: o.shadow, Reason: o.reason}
	for _, share := range shares {
		parsed, err := parseShare(share)
		if err != nil {
			return err
		}
		wanted.Versions = append(wanted.Versions, parsed)
	}
	traffic, err := api.SetTraffic(ctx, model, wanted)
	if err != nil {
		return err
	}
	return o.showTraffic(model, traffic)
}

func (g *global) showTraffic(model string, traffic modelmanager.TrafficInfo) error {
	return g.show(traffic, func(w io.Writer) {
		fmt.Fprintf(w, "%s: version %s\n", model, trafficText(traffic.Traffic))
		if traffic.Pending != nil {
			fmt.Fprintf(w, "not yet: %s\n", oneLine(traffic.Pending.Reason))
		}
	})
}

func parseShare(text string) (modelmanager.Share, error) {
	left, right, found := strings.Cut(text, "=")
	version, err := parseVersion(left)
	if err != nil {
		return modelmanager.Share{}, err
	}
	percent, err := strconv.Atoi(strings.TrimSuffix(right, "%"))
	if !found || err != nil {
		return modelmanager.Share{}, usageError{fmt.Errorf("%q is not VERSION=PERCENT, such as 7=90", text)}
	}
	return modelmanager.Share{Version: version, Percent: percent}, nil
}
