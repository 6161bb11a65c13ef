package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelmanager.dev"
	"modelmanager.dev/internal/wording"
)

func newJobs(g *global) *cobra.Command {
	command := &cobra.Command{
		Use:     "jobs",
		Aliases: []string{"job"},
		Short:   "Predict whole files: submit jobs, watch them, fetch results",
	}
	command.AddCommand(
		newJobsSubmit(g), newJobsList(g), newJobsShow(g), newJobsWatch(g),
		newJobsStream(g, "output", "Write a job's results, in the input's order and format"),
		newJobsRejected(g),
		newJobsStream(g, "logs", "Write what a job's workers have logged"),
		newJobsCancel(g), newJobsRetry(g),
	)
	group(command)
	return command
}

func newJobsShow(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "show JOB",
		Short: "Show a job",
		Args:  exactly("JOB"),
		RunE: func(command *cobra.Command, args []string) error {
			api, err := g.client()
			if err != nil {
				return err
			}
			job, err := api.Job(command.Context(), args[0])
			if err != nil {
				return err
			}
			return g.show(job, func(w io.Writer) { printJob(w, job) })
		},
	}
}

func printJob(w io.Writer, job modelmanager.Job) {
	input := job.Input.Name
	if input == "" {
		input = job.Input.URI + job.Input.Upload
	}
	properties(w,
		[2]string{"job", job.ID},
		[2]string{"model", fmt.Sprintf("%s version %d", job.Model, job.Version)},
		[2]string{"state", string(job.State)},
		[2]string{"reason", job.Reason},
		[2]string{"rows", rowsText(job.Rows)},
		[2]string{"shards", fmt.Sprintf("%d of %d done", job.Shards.Done, job.Shards.Total)},
		[2]string{"input", input},
		[2]string{"read as", dialectText(job.Input)},
		[2]string{"output", job.Output.URI},
		[2]string{"labels", labelsText(job.Labels)},
		[2]string{"by", job.By},
		[2]string{"retry of", job.RetryOf},
		[2]string{"created", ago(job.Created)},
		[2]string{"took", tookText(job)},
		[2]string{"cpu", wording.Cost(job.CPUSeconds)},
	)
	for _, feature := range sortedKeys(job.Rows.Filled) {
		fmt.Fprintf(w, "%s took its default in %d rows\n", feature, job.Rows.Filled[feature])
	}
}

func rowsText(rows modelmanager.JobRows) string {
	return fmt.Sprintf("%d read = %d predicted + %d rejected", rows.Read, rows.Predicted, rows.Rejected)
}

// dialectText is how an input was read: "csv, utf-8, delimiter ;, decimal ,,
// header in row 3, dates DD/MM/YYYY".
func dialectText(in modelmanager.JobInput) string {
	var parts []string
	for _, part := range []struct{ label, value string }{
		{"", in.Format}, {"", in.Compression}, {"", in.Encoding}, {"delimiter ", in.Delimiter}, {"decimal ", in.Decimal},
		{"sheet ", in.Sheet}, {"header in row ", rowText(in.HeaderRow)}, {"dates ", in.Dates}, {"timezone ", in.Timezone}, {"null ", nullText(in.Null)},
	} {
		if part.value != "" && part.value != "none" {
			parts = append(parts, part.label+part.value)
		}
	}
	return strings.Join(parts, ", ")
}

func rowText(row int) string {
	if row == 0 {
		return ""
	}
	return fmt.Sprint(row)
}

// nullText names what stands for null, unless that is the empty cell alone.
func nullText(null []string) string {
	if len(null) == 0 || len(null) == 1 && null[0] == "" {
		return ""
	}
	quoted := make([]string, len(null))
	for i, text := range null {
		quoted[i] = fmt.Sprintf("%q", text)
	}
	return strings.Join(quoted, " ")
}

func tookText(job modelmanager.Job) string {
	if job.Started == nil || job.Finished == nil {
		return ""
	}
	return job.Finished.Sub(*job.Started).Round(10 * time.Millisecond).String()
}
