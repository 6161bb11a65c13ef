package cli

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"modelmanager.dev"
	"modelmanager.dev/client"
	"modelmanager.dev/internal/wording"
)

// jobStates are the states to filter by.
var jobStates = []modelmanager.JobState{
	modelmanager.JobQueued, modelmanager.JobRunning, modelmanager.JobSucceeded, modelmanager.JobFailed, modelmanager.JobCancelled,
}

type jobsListOptions struct {
	*global
	model  string
	state  string
	labels []string
	limit  int
}

func newJobsList(g *global) *cobra.Command {
	o := &jobsListOptions{global: g}
	command := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List jobs, newest first",
		Args:    exactly(),
		RunE: func(command *cobra.Command, _ []string) error {
			return o.run(command.Context())
		},
	}
	flags := command.Flags()
	flags.StringVar(&o.model, "model", "", "only this model's")
	flags.StringVar(&o.state, "state", "", "queued, running, succeeded, failed or cancelled")
	flags.StringArrayVarP(&o.labels, "label", "l", nil, "only with this label, name=value; repeatable")
	flags.IntVar(&o.limit, "limit", 50, "at most so many")
	return command
}

func (o *jobsListOptions) run(ctx context.Context) error {
	if o.state != "" && !slices.Contains(jobStates, modelmanager.JobState(o.state)) {
		return usageError{fmt.Errorf("--state %s: a job is queued, running, succeeded, failed or cancelled", o.state)}
	}
	api, err := o.client()
	if err != nil {
		return err
	}
	labels, err := parseLabels(o.labels)
	if err != nil {
		return err
	}
	list, err := api.Jobs(ctx, client.JobQuery{
		Model: o.model, State: modelmanager.JobState(o.state), Labels: labels, Limit: o.limit,
	})
	if err != nil {
		return err
	}
	return o.show(list, func(w io.Writer) {
		if len(list.Jobs) == 0 {
			fmt.Fprintln(w, "no jobs")
			return
		}
		var rows [][]string
		for _, job := range list.Jobs {
			rows = append(rows, []string{
				job.ID, fmt.Sprintf("%s/%d", job.Model, job.Version), string(job.State),
				fmt.Sprint(job.Rows.Predicted), fmt.Sprint(job.Rows.Rejected), ago(job.Created), wording.Shorten(job.Reason, 80),
			})
		}
		table(w, []string{"JOB", "MODEL", "STATE", "PREDICTED", "REJECTED", "CREATED", "REASON"}, rows)
		if list.NextPageToken != "" {
			fmt.Fprintln(w, "… there are more; narrow the search, or raise --limit")
		}
	})
}
