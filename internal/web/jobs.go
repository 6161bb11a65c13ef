package web

import (
	"net/url"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/client"
	"modelmanager.dev/internal/wording"
)

func (w *Web) mountJobs() { w.get("GET /jobs", (*visit).jobs) }

// jobsItems is how many jobs a page of the list has.
const jobsItems = 25

// jobsPage is what the list of jobs shows.
type jobsPage struct {
	Query    client.JobQuery
	States   []choice
	Unknown  []string // as in the catalogue
	Jobs     []jobLine
	First    string // addresses; "": there is none
	Next     string
	Every    int // seconds after which the list is looked at again; 0: nothing is under way
	Narrowed bool
	Shown    string // how many, in words
}

// jobLine is a job in the list.
type jobLine struct {
	modelmanager.Job
	Name        string
	Word, Class string
	Percent     int // −1: not known
	Rows        string
	Took        string
	Cost        string
}

func (v *visit) jobs() error {
	address := v.r.URL.Query()
	page := jobsPage{States: []choice{
		{Value: "", Name: "Every state"}, {Value: "queued", Name: "Waiting"}, {Value: "running", Name: "Running"},
		{Value: "succeeded", Name: "Done"}, {Value: "failed", Name: "Failed"}, {Value: "cancelled", Name: "Cancelled"},
	}}
	query := client.JobQuery{
		Model: strings.TrimSpace(address.Get("model")), State: modelmanager.JobState(choose(page.States, address.Get("state"), "State", &page.Unknown)),
		Mine: address.Get("mine") != "", Limit: jobsItems, PageToken: address.Get("page"),
	}
	list, err := v.api().Jobs(v.ctx(), query)
	if err != nil {
		return err
	}
	page.Query, page.Narrowed = query, query.Model != "" || query.State != "" || query.Mine
	if query.PageToken != "" {
		page.First = jobsAddress(query, "")
	}
	if list.NextPageToken != "" {
		page.Next = jobsAddress(query, list.NextPageToken)
	}
	page.Shown = plural(len(list.Jobs), "job")
	if page.First != "" || page.Next != "" {
		page.Shown += " on this page; there are more"
	}
	now := time.Now()
	for _, job := range list.Jobs {
		page.Jobs = append(page.Jobs, lineOfJob(job, now))
		if !job.State.Final() {
			page.Every = 3
		}
	}
	if v.wantsPart() {
		return v.part("jobs", "results", page)
	}
	return v.page("jobs", "jobs", "Jobs", page)
}

func lineOfJob(job modelmanager.Job, now time.Time) jobLine {
	line := jobLine{Job: job, Name: jobFile(job), Percent: -1, Cost: wording.Cost(job.CPUSeconds)}
	line.Word, line.Class = stateWord(job)
	if line.Class == "warned" {
		line.Word = "Done"
	}
	if done := progressOf(job); done >= 0 && !job.State.Final() {
		line.Percent = int(done * 100)
	}
	if job.Rows.Read > 0 || job.State.Final() {
		line.Rows = plural(job.Rows.Read, "row")
		if job.Rows.Rejected > 0 {
			line.Rows += ", " + count(job.Rows.Rejected) + " rejected"
		}
	}
	if job.Started != nil {
		end := now
		if job.Finished != nil {
			end = *job.Finished
		}
		line.Took = spanText(end.Sub(*job.Started))
	}
	return line
}

// jobsAddress is where a page of a query's jobs is.
func jobsAddress(query client.JobQuery, page string) string {
	values := url.Values{}
	for name, value := range map[string]string{"model": query.Model, "state": string(query.State), "page": page} {
		if value != "" {
			values.Set(name, value)
		}
	}
	if query.Mine {
		values.Set("mine", "1")
	}
	if len(values) == 0 {
		return "/jobs"
	}
	return "/jobs?" + values.Encode()
}
