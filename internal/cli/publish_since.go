package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"modelmanager.dev/internal/pipeline"
	"modelmanager.dev/internal/repository"
	"modelmanager.dev/internal/wording"
)

// sinceOptions are the flags of mm publish for a repository of models.
type sinceOptions struct {
	since     string
	revision  string
	address   string
	dryRun    bool
	supersede bool
	wait      bool
}

func (o *sinceOptions) add(flags *pflag.FlagSet) {
	flags.StringVar(&o.since, "since", "", "publish the models that changed since this revision, and retire those whose folder is gone")
	flags.StringVar(&o.revision, "revision", "HEAD", "with --since: the revision to publish; what isn't committed isn't published")
	flags.StringVar(&o.address, "source", "", "with --since: the repository's address; default: the one it was cloned from")
	flags.BoolVar(&o.dryRun, "dry-run", false, "print the plan only: what would be published, with nothing built or tried")
	flags.BoolVar(&o.wait, "wait", false, "with --since: wait until what was published answers; of a canary, its first step")
	flags.BoolVar(&o.supersede, "supersede", false, "with --since: replace also what comes from a commit that is newer, or that this clone doesn't know")
}

// sinceWhat refuses an empty --since: what was meant is not the folder that this
// would be taken for.
func sinceWhat(command *cobra.Command) error {
	if since := command.Flags().Lookup("since"); since.Changed && since.Value.String() == "" {
		return usageError{errors.New("--since is empty; name the revision before: is a variable empty that it comes from?")}
	}
	return nil
}

func (o *publishOptions) runSince(ctx context.Context, folders []string) error {
	if o.version != 0 || o.hold || o.reason != "" {
		return usageError{errors.New("--since goes without --version, --hold and --reason")}
	}
	repo, err := repository.Open(ctx, ".")
	if err != nil {
		return misused(err)
	}
	inside, err := withinRepository(repo, folders)
	if err != nil {
		return err
	}
	span, err := pipeline.ResolveSpan(ctx, repo, o.changed.since, o.changed.revision)
	if err != nil {
		return misused(err)
	}
	api, err := o.client()
	if err != nil {
		return err
	}
	images, err := o.images(ctx, api)
	if err != nil {
		return err
	}
	var mu sync.Mutex // two models are dealt with at a time
	publisher := &pipeline.Publisher{
		Server: api, Validator: o.validator(), Images: images,
		Address: o.changed.address, Supersede: o.changed.supersede, ApprovedBy: o.approvedBy,
		Wait: o.changed.wait, AllowBreaking: pipeline.Allowing(o.breaking),
		Progress: func(model, text string) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(o.Err, "%s: %s\n", model, printable(text))
		},
	}
	plan, err := publisher.Plan(ctx, span, inside)
	if err != nil {
		return err
	}
	defer plan.Close()
	if o.changed.dryRun {
		return o.show(plan, func(w io.Writer) { printPlan(w, plan) })
	}
	if o.output == "table" {
		printPlan(o.Err, plan)
	}
	outcomes, err := publisher.Execute(ctx, plan, func(outcome pipeline.Outcome) {
		if o.output == "table" && !outcome.Held {
			answers := o.whoAnswers(ctx, outcome.Model, percentOf(outcome))
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintln(o.Out, outcomeText(outcome)+answers)
			if outcome.Err != nil {
				PrintError(o.Err, outcome.Err)
			}
		}
	})
	if o.output == "json" {
		if outcomes == nil {
			outcomes = []pipeline.Outcome{}
		}
		err = errors.Join(err, o.show(outcomes, nil))
	}
	return errors.Join(err, o.failed(outcomes))
}

// failed is the worst of what went wrong.
func (o *publishOptions) failed(outcomes []pipeline.Outcome) error {
	var worst error
	failed := 0
	held := map[string]int{}
	for _, outcome := range outcomes {
		if outcome.Err == nil {
			continue
		}
		if outcome.Held {
			held[outcome.Shared()[0].String()]++
		} else {
			failed++
		}
		if worst == nil || ExitCode(outcome.Err) > ExitCode(worst) {
			worst = outcome.Err
		}
	}
	if failed == 0 {
		return nil
	}
	for _, cause := range slices.Sorted(maps.Keys(held)) {
		fmt.Fprintf(o.Err, "mm: %s: %d more models are left as they are, since one of those before them failed; mend it, and publish this again\n", cause, held[cause])
	}
	fmt.Fprintf(o.Err, "mm: %d of %d models failed\n", failed, len(outcomes))
	return errors.Join(errReported, worst)
}

// withinRepository says folders as the repository does.
func withinRepository(repo *repository.Repository, folders []string) ([]string, error) {
	var inside []string
	for _, folder := range folders {
		if repo.Root == "" {
			inside = append(inside, filepath.ToSlash(filepath.Clean(folder)))
			continue
		}
		absolute, err := filepath.Abs(folder)
		if err != nil {
			return nil, err
		}
		if real, err := filepath.EvalSymlinks(absolute); err == nil {
			absolute = real
		}
		relative, err := filepath.Rel(repo.Root, absolute)
		if err != nil || !filepath.IsLocal(relative) {
			return nil, usageError{fmt.Errorf("%s is not in the repository %s", folder, repo.Root)}
		}
		inside = append(inside, filepath.ToSlash(relative))
	}
	return inside, nil
}

// printPlan prints a plan for people: a block for each group of models that
// changed for the same reason.
func printPlan(w io.Writer, plan *pipeline.Plan) {
	if len(plan.Steps) == 0 {
		fmt.Fprintf(w, "no model changed from %.12s to %.12s\n", cmp.Or(plan.From, "nothing"), plan.Commit)
		return
	}
	fmt.Fprintf(w, "From %.12s to %.12s:\n", cmp.Or(plan.From, "nothing"), plan.Commit)
	const most = 20 // models of a group that are listed
	for _, group := range plan.Groups() {
		if because := group[0].Shared(); len(because) > 0 {
			var causes []string
			for _, cause := range because {
				causes = append(causes, cause.String())
			}
			fmt.Fprintf(w, "\n%s changed, and with it %s:\n", oneLine(strings.Join(causes, " and ")), wording.Count(len(group), "model"))
		} else {
			fmt.Fprintln(w)
		}
		rows := [][]string{}
		for _, step := range group[:min(most, len(group))] {
			rows = append(rows, []string{step.Model, string(step.Kind), step.Folder, stepText(step)})
		}
		table(w, []string{"MODEL", "IS", "FOLDER", "PLAN"}, rows)
		if len(group) > most {
			fmt.Fprintf(w, "… and %d more: %s\n", len(group)-most, countsText(group[most:]))
		}
	}
}

func countsText(steps []pipeline.PlanStep) string {
	counts := map[pipeline.PlanAction]int{}
	for _, step := range steps {
		counts[step.Action]++
	}
	var parts []string
	for action, count := range counts {
		parts = append(parts, fmt.Sprintf("%d %s", count, action))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// stepText is a step in words.
func stepText(step pipeline.PlanStep) string {
	var text string
	switch step.Action {
	case pipeline.ActPublish:
		text = "publish a new version; " + rolloutText(step)
	case pipeline.ActRollOut:
		text = step.Why
		if !strings.HasSuffix(step.Why, "answers already") {
			text += "; " + rolloutText(step)
		}
	case pipeline.ActRetire:
		text = "retire it"
	case pipeline.ActBroken:
		first, _, _ := strings.Cut(strings.TrimSpace(step.Why), "\n")
		text = "can't be published: " + first
	default:
		text = "nothing: " + step.Why
	}
	if len(step.Breaking) > 0 {
		text += fmt.Sprintf("; it breaks callers of version %d, which is allowed", step.Live)
	}
	return text
}

func rolloutText(step pipeline.PlanStep) string {
	switch {
	case step.Rollout == "manual":
		return "it waits for mm models promote"
	case step.Rollout == "canary" && step.Live != 0:
		return fmt.Sprintf("a canary beside version %d", step.Live)
	case step.Live != 0:
		return fmt.Sprintf("it replaces version %d", step.Live)
	}
	return "it takes all traffic"
}

// outcomeText is what became of a model, in a line.
func outcomeText(outcome pipeline.Outcome) string {
	model := cmp.Or(outcome.Model, outcome.Folder)
	switch {
	case outcome.Err != nil:
		return fmt.Sprintf("✗ %s", model)
	case outcome.Action == pipeline.ActRetire:
		return fmt.Sprintf("✓ %s is retired", model)
	case outcome.Action == pipeline.ActNothing:
		return fmt.Sprintf("– %s: %s", model, outcome.Why)
	}
	text := fmt.Sprintf("✓ %s version %d", model, outcome.Version)
	if !outcome.New {
		text += " (published before)"
	}
	return text + " " + sharesText(outcome)
}

// percentOf is the share of the traffic that a version was given.
func percentOf(outcome pipeline.Outcome) int {
	if outcome.Traffic == nil {
		return 0
	}
	for _, share := range outcome.Traffic.Versions {
		if share.Version == outcome.Version {
			return share.Percent
		}
	}
	return 0
}

func sharesText(outcome pipeline.Outcome) string {
	if percent := percentOf(outcome); percent > 0 {
		return fmt.Sprintf("takes %d%% of the traffic", percent)
	}
	return fmt.Sprintf("takes no traffic yet; mm models promote %s %d gives it all", outcome.Model, outcome.Version)
}
