package web

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/client"
)

func (w *Web) mountOperations() { w.get("GET /operations", (*visit).operations) }

// Bounds of the page of operations.
const (
	operationsLines = 200 // versions that are listed
	operationsBad   = 50  // of those in trouble
	operationsJobs  = 100 // jobs of a state that are counted
)

// operationsPage shows what runs now.
type operationsPage struct {
	At          modelmanager.Activity
	Incomplete  bool   // other servers haven't been waited for
	Missing     string // which of them didn't tell
	Since       string // when calls were first counted, if that was less than five minutes ago
	Known       bool   // how models are
	Models      int
	Awake       int // models
	Asleep      int // models
	Replicas    int
	Trouble     []operationsLine
	MoreTrouble int              // versions beyond those
	Lines       []operationsLine // the busiest first
	Hidden      int              // lines beyond those
	InFlight    int
	Waiting     int
	Calls       int64
	Errors      int64
	JobsWaiting string
	JobsRunning string
}

// operationsLine is a version that isn't cold.
type operationsLine struct {
	modelmanager.VersionActivity
	Why     string
	Errored string // share of the calls
	P50     string
	P99     string
}

func (v *visit) operations() error {
	wait, full := v.patience()
	activity, err := v.api().ActivityWithin(v.ctx(), wait)
	if err != nil {
		return err
	}
	page := operationsPage{At: activity, Incomplete: activity.Incomplete != "" && !full}
	if full {
		page.Missing = sentence(activity.Incomplete)
	}
	page.Since = lately(activity)
	for _, version := range activity.Versions {
		page.InFlight += version.InFlight
		page.Waiting += version.Waiting
		page.Calls += version.Calls
		page.Errors += version.Errors
		page.Replicas += version.Replicas
		line := operationsLine{VersionActivity: version, Why: sentence(version.Health.Reason), P50: milliseconds(version.P50), P99: milliseconds(version.P99)}
		if line.Errored = "0"; version.Errors > 0 && version.Calls > 0 {
			line.Errored = percentText(float64(version.Errors) / float64(version.Calls))
		}
		if version.Health.State == modelmanager.Unhealthy || version.Health.State == modelmanager.Degraded {
			page.Trouble = append(page.Trouble, line)
		}
		page.Lines = append(page.Lines, line)
	}
	slices.SortStableFunc(page.Trouble, func(a, b operationsLine) int { // what callers feel, and can't answer at all, first
		return cmp.Or(cmp.Compare(min(b.Percent, 1), min(a.Percent, 1)), cmp.Compare(b.Health.State, a.Health.State))
	})
	if len(page.Trouble) > operationsBad {
		page.MoreTrouble = len(page.Trouble) - operationsBad
		page.Trouble = page.Trouble[:operationsBad]
	}
	if err := v.countModels(&page); err != nil {
		return err
	}
	slices.SortStableFunc(page.Lines, func(a, b operationsLine) int {
		return cmp.Or(cmp.Compare(b.Waiting, a.Waiting), cmp.Compare(b.InFlight, a.InFlight), cmp.Compare(b.Calls, a.Calls))
	})
	if len(page.Lines) > operationsLines {
		page.Hidden = len(page.Lines) - operationsLines
		page.Lines = page.Lines[:operationsLines]
	}
	if page.JobsWaiting, err = v.countJobs(modelmanager.JobQueued); err != nil {
		return err
	}
	if page.JobsRunning, err = v.countJobs(modelmanager.JobRunning); err != nil {
		return err
	}
	return v.page("operations", "operations", "Operations", page)
}

// lately says since when calls are known, if that isn't all of the five minutes
// that an activity is of.
func lately(activity modelmanager.Activity) string {
	if activity.At.Sub(activity.KnownSince) < 5*time.Minute {
		return clock(activity.KnownSince)
	}
	return ""
}

// countModels counts models by their health, as the catalogue's filter does.
func (v *visit) countModels(page *operationsPage) error {
	list, err := v.api().Models(v.ctx(), client.ModelQuery{Limit: 1, Count: 1})
	if err != nil {
		return err
	}
	if list.Counts == nil || list.Counts.Health == nil {
		return nil
	}
	page.Known, page.Models = true, list.Counts.Models
	page.Asleep = list.Counts.Health[modelmanager.Idle]
	page.Awake = page.Models - page.Asleep
	return nil
}

// countJobs counts the jobs in a state, up to a bound.
func (v *visit) countJobs(state modelmanager.JobState) (string, error) {
	list, err := v.api().Jobs(v.ctx(), client.JobQuery{State: state, Limit: operationsJobs})
	if err != nil {
		return "", err
	}
	if list.NextPageToken != "" {
		return count(len(list.Jobs)) + "+", nil
	}
	return count(len(list.Jobs)), nil
}

func milliseconds(ms float64) string {
	switch {
	case ms <= 0:
		return ""
	case ms < 9.95:
		return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
	case ms < 999.5:
		return strconv.FormatFloat(ms, 'f', 0, 64) + " ms"
	}
	return strconv.FormatFloat(ms/1000, 'f', 1, 64) + " s"
}
