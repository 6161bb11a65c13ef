package main

import (
	"fmt"
	"net/http"
	"net/url"

	"modelmanager.dev"
)

// page is what is measured, by its path. Each is asked with another word or
// model every time, where it can be.
type page struct {
	what   string
	path   func(i int) string
	status int // 0: 200
}

// pages are all that internal/web mounts, but for downloads and streams.
func (w *world) pages() []page {
	return append(append(w.catalogues(), w.modelPages()...), w.jobPages()...)
}

func (w *world) catalogues() []page {
	pages := []page{
		at("catalogue", "/"),
		{what: "catalogue, second page", path: func(i int) string { return "/?page=" + url.QueryEscape(w.secondPage) }},
		{what: "catalogue, a customer's", path: func(i int) string { return "/?q=" + customer(i*977) }},
		at("catalogue, part of a word", "/?q=admissi"),
		{what: "catalogue, a rare pair", path: func(i int) string { return fmt.Sprintf("/?q=cohort+%d+%s", i, customer(i)) }},
		{what: "catalogue, nothing", path: func(i int) string { return fmt.Sprintf("/?q=xylophone%d", i) }},
		{what: "catalogue, an owner", path: func(i int) string { return fmt.Sprintf("/?owner=team-%d%%40example.org", i%40) }},
		{what: "catalogue, a label", path: func(i int) string { return "/?label=customer%3D" + customer(i) }},
		{what: "catalogue, a label and a word", path: func(i int) string { return "/?label=customer%3D" + customer(i) + "&q=risk" }},
	}
	for _, mode := range []modelmanager.Mode{modelmanager.RealTime, modelmanager.Batch} {
		pages = append(pages, at("catalogue, serve="+string(mode), "/?serve="+string(mode)))
	}
	for _, state := range []modelmanager.HealthState{modelmanager.Healthy, modelmanager.Idle, modelmanager.Starting, modelmanager.Degraded, modelmanager.Unhealthy} {
		pages = append(pages, at("catalogue, health="+string(state), "/?health="+string(state)))
	}
	return append(pages,
		at("catalogue, health=idle and part of a word", "/?health=idle&q=admissi"),
		page{what: "catalogue, every filter", path: func(i int) string {
			return fmt.Sprintf("/?q=risk&serve=realtime&health=idle&owner=team-%d%%40example.org&label=use%%3D%s", i%40, questions[i%10])
		}},
		at("operations", "/operations"),
		at("sign in", "/sign-in"),
		page{what: "no such page", path: func(i int) string { return fmt.Sprintf("/nothing/%d", i) }, status: http.StatusNotFound},
	)
}

// modelPages are those of a model: of any, of one that runs and has many
// versions, and of the one with 300 features.
func (w *world) modelPages() []page {
	any := func(i int) string { return "/models/" + name(i*1499%w.models) }
	busy := func(i int) string { return "/models/" + name(i*longEach%w.models) }
	wide := func(int) string { return "/models/" + wideName }
	under := func(model func(int) string, rest string) func(int) string {
		return func(i int) string { return model(i) + rest }
	}
	pages := []page{
		{what: "model", path: any},
		{what: "try it", path: under(any, "/try?example=1")},
		{what: "versions", path: under(any, "/versions")},
		{what: "version", path: under(any, "/versions/1")},
		{what: "log of a version", path: under(any, "/versions/1/logs")},
		{what: "traffic", path: under(any, "/traffic")},
		{what: "compare, with nothing to compare", path: under(any, "/compare")},
		{what: "a file for a model", path: under(any, "/batch")},
	}
	for _, one := range []struct {
		what string
		path func(int) string
	}{{"of 20 versions", busy}, {"of 300 features", wide}} {
		pages = append(pages,
			page{what: "model " + one.what, path: one.path},
			page{what: "try it, model " + one.what, path: under(one.path, "/try?example=1")},
			page{what: "versions, model " + one.what, path: under(one.path, "/versions")},
			page{what: "version, model " + one.what, path: func(i int) string { return fmt.Sprintf("%s/versions/%d", one.path(i), i%longVersions+1) }},
			page{what: "log of a version, model " + one.what, path: under(one.path, fmt.Sprintf("/versions/%d/logs", longVersions))},
			page{what: "traffic, model " + one.what, path: under(one.path, "/traffic")},
			page{what: "traffic, to confirm, model " + one.what, path: func(i int) string {
				return fmt.Sprintf("%s/traffic/change?do=promote&version=%d", one.path(i), i%(longVersions-2)+1)
			}},
			page{what: "compare two versions, model " + one.what, path: func(i int) string {
				return fmt.Sprintf("%s/compare?from=%d&to=%d", one.path(i), i%(longVersions-1)+1, longVersions)
			}},
			page{what: "a file for a model " + one.what, path: under(one.path, "/batch")},
		)
	}
	return append(pages,
		page{what: "compare two versions by what they predict, model of 300 features", path: under(wide, fmt.Sprintf("/compare?from=%d&to=%d&predictions=1", longVersions-1, longVersions))},
		page{what: "check of a file", path: func(int) string { return w.checks[jobModel] }},
		page{what: "check of a file of 500 columns", path: func(int) string { return w.checks[wideName] }},
	)
}

func (w *world) jobPages() []page {
	pages := []page{
		at("jobs", "/jobs"),
		{what: "jobs, a page of old ones", path: func(i int) string { return "/jobs?page=" + oldJob(i*7%w.oldJobs) }},
		at("jobs, a model's", "/jobs?model="+jobModel),
		at("jobs, one's own", "/jobs?mine=1"),
	}
	for _, state := range []modelmanager.JobState{modelmanager.JobQueued, modelmanager.JobRunning, modelmanager.JobSucceeded, modelmanager.JobFailed, modelmanager.JobCancelled} {
		pages = append(pages, at("jobs, state="+string(state), "/jobs?state="+string(state)))
	}
	for _, kind := range jobKinds {
		pages = append(pages, at("job, "+kind.what, "/jobs/"+w.jobs[kind.what]))
	}
	return append(pages,
		page{what: "job whose data is gone", path: func(i int) string { return "/jobs/" + oldJob(i*7%w.oldJobs) }},
		at("log of a job", "/jobs/"+w.jobs[jobDone]+"/logs"),
	)
}

// at is a page that is always the same.
func at(what, path string) page { return page{what: what, path: func(int) string { return path }} }
