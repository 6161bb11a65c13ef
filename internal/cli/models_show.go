package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

func newModelsShow(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "show MODEL",
		Short: "Show a model: what it wants, what it gives, how it does",
		Args:  exactly("MODEL"),
		RunE: func(command *cobra.Command, args []string) error {
			return g.runModelsShow(command.Context(), args[0])
		},
	}
}

func (g *global) runModelsShow(ctx context.Context, model string) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	info, err := api.Model(ctx, model)
	if err != nil {
		return err
	}
	return g.show(info, func(w io.Writer) { printModel(w, info) })
}

func printModel(w io.Writer, info modelmanager.ModelInfo) {
	serve := make([]string, len(info.Serve))
	for i, mode := range info.Serve {
		serve[i] = string(mode)
	}
	retired := ""
	if info.Retired != nil {
		retired = strings.TrimSpace(ago(info.Retired.At) + " " + info.Retired.Reason)
	}
	rollout := "" // why a canary ended as it did, while that is what is in force
	if info.Canary == nil && info.Traffic.By == modelmanager.ByRollout {
		rollout = info.Traffic.Reason
	}
	properties(w,
		[2]string{"name", info.Name},
		[2]string{"summary", info.Summary},
		[2]string{"owner", info.Owner},
		[2]string{"labels", labelsText(info.Labels)},
		[2]string{"serves", strings.Join(serve, ", ")},
		[2]string{"version", trafficText(info.Traffic.Now())},
		[2]string{"pending", pendingText(info.Traffic)},
		[2]string{"rollout", rollout},
		[2]string{"latest", fmt.Sprint(info.Latest)},
		[2]string{"health", healthText(info.Health)},
		[2]string{"created", ago(info.Created)},
		[2]string{"retired", retired},
	)
	if info.Canary != nil {
		fmt.Fprintln(w, "\ncanary")
		printCanary(w, *info.Canary)
	}
	var s spec.Spec
	if len(info.Spec) == 0 || json.Unmarshal(info.Spec, &s) != nil {
		return
	}
	fmt.Fprintln(w, "\nfeatures")
	printFields(w, s.Features)
	fmt.Fprintln(w, "\npredictions")
	printFields(w, s.Predictions)
}

// printCanary prints how a new version is on its way to all of the traffic.
func printCanary(w io.Writer, c modelmanager.Canary) {
	percent := 0
	if c.Step >= 1 && c.Step <= len(c.Steps) {
		percent = c.Steps[c.Step-1]
	}
	steps := make([]string, 0, len(c.Steps)+1)
	for _, step := range c.Steps {
		steps = append(steps, fmt.Sprintf("%d%%", step))
	}
	properties(w,
		[2]string{"  version", fmt.Sprintf("%d at %d%%, beside version %d", c.Version, percent, c.Before)},
		[2]string{"  step", fmt.Sprintf("%d of %d: %s, then 100%%", c.Step, len(c.Steps), strings.Join(steps, ", "))},
		[2]string{"  since", clock(c.Since)},
		[2]string{"  until", fmt.Sprintf("%s; at the latest %s", clock(c.Until), clock(c.Latest))},
		[2]string{"  status", c.Status},
		[2]string{"  back when", strings.Join(c.BackWhen, ", or ")},
	)
}

// clock writes a moment as the reader's clock shows it.
func clock(at time.Time) string { return at.Local().Format(time.DateTime) }

func printFields(w io.Writer, fields []modelmanager.Field) {
	var rows [][]string
	for _, f := range fields {
		rows = append(rows, []string{"  " + f.Name, fieldType(f), fieldRange(f), f.Unit, f.Description})
	}
	table(w, []string{"  NAME", "TYPE", "VALUES", "UNIT", "DESCRIPTION"}, rows)
}

func fieldType(f modelmanager.Field) string {
	text := string(f.Type)
	if f.Format != "" {
		text = f.Format
	}
	if f.Items != nil {
		text = "array of " + fieldType(*f.Items)
	}
	if f.Nullable {
		text += " or null"
	}
	if f.Default != nil {
		data, _ := json.Marshal(f.Default)
		text += ", default " + string(data)
	}
	return text
}

func fieldRange(f modelmanager.Field) string {
	var parts []string
	if len(f.Enum) > 0 {
		for _, value := range f.Enum {
			parts = append(parts, fmt.Sprint(value))
		}
		return strings.Join(parts, " | ")
	}
	bound := func(sign string, value *float64) {
		if value != nil {
			parts = append(parts, fmt.Sprintf("%s %g", sign, *value))
		}
	}
	bound("≥", f.Minimum)
	bound(">", f.ExclusiveMinimum)
	bound("≤", f.Maximum)
	bound("<", f.ExclusiveMaximum)
	return strings.Join(parts, ", ")
}
