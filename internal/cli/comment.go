package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"modelmanager.dev"
	"modelmanager.dev/internal/pipeline"
)

func newComment(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "comment REPORT.md",
		Short: "Put a report on the pull request that this CI run is for",
		Long: `Make a report (of mm validate --format markdown=REPORT.md) the one comment that
Model Manager has on the pull request of this run: the comment that is there is
changed in place. In GitHub Actions it takes $GITHUB_TOKEN, in GitLab CI
$MM_GITLAB_TOKEN; all else they set themselves.

Where the token may not comment, as in the runs of a fork, it says so and is done.
So it does where there is no report, because nothing was validated.`,
		Args: exactly("REPORT.md"),
		RunE: func(command *cobra.Command, args []string) error {
			return g.comment(command.Context(), args[0])
		},
	}
}

// commented is what mm comment -o json says.
type commented struct {
	Commented bool   `json:"commented"`
	Why       string `json:"why,omitempty"` // it isn't
}

func (g *global) comment(ctx context.Context, file string) error {
	without := func(why string) error {
		fmt.Fprintln(g.Err, why)
		return g.show(commented{Why: why}, nothing)
	}
	report, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(report) == 0 {
		return without("there is no report in " + file)
	}
	if err != nil {
		return err
	}
	comments, err := pipeline.CommentsOf(os.Getenv)
	if err != nil {
		return err
	}
	err = comments.Put(ctx, string(report))
	if modelmanager.CodeOf(err) == modelmanager.CodeForbidden {
		return without("this run may not comment: " + printable(err.Error()))
	}
	if err != nil {
		return err
	}
	return g.show(commented{Commented: true}, nothing)
}

// nothing is what people are shown of a command that has said what there is.
func nothing(io.Writer) {}
