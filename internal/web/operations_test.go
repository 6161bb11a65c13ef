package web

import (
	"fmt"
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"modelmanager.dev"
)

// TestOperationsCountsModelsAndBoundsTrouble: what is awake and asleep are
// models, by their health; of very much trouble the worst is listed.
func TestOperationsCountsModelsAndBoundsTrouble(t *testing.T) {
	f := &fakeAPI{ServeMux: http.NewServeMux()}
	left := modelmanager.VersionActivity{Model: "left", Version: 9, Health: modelmanager.Health{State: modelmanager.Unhealthy}}
	activity := modelmanager.Activity{Models: 100, Versions: []modelmanager.VersionActivity{left}}
	for i := range 120 {
		state := modelmanager.Degraded
		if i%2 == 0 {
			state = modelmanager.Unhealthy
		}
		activity.Versions = append(activity.Versions, modelmanager.VersionActivity{Model: fmt.Sprintf("m-%d", i/2), Version: i%2 + 1, Percent: 50, Health: modelmanager.Health{State: state}, Replicas: 1})
	}
	// Called lately, and asleep by now.
	activity.Versions = append(activity.Versions, modelmanager.VersionActivity{Model: "slept", Version: 1, Health: modelmanager.Health{State: modelmanager.Idle}, CallCounts: modelmanager.CallCounts{Calls: 3}})
	f.json("GET /v1/activity", activity)
	f.json("GET /v1/jobs", modelmanager.JobList{})
	f.json("GET /v1/models", modelmanager.ModelList{Counts: &modelmanager.ModelCounts{Models: 100, Health: map[modelmanager.HealthState]int{modelmanager.Idle: 40, modelmanager.Unhealthy: 60}}})
	answer := newBrowser(t, newWeb(t, f)).get("/operations")
	text := saidBy(t, answer.Body.String())
	for _, want := range []string{"Models awake 60 120 replicas", "Models asleep 40 of 100", "And 71 versions more."} {
		if !strings.Contains(text, want) {
			t.Errorf("it doesn't say %q: %.600s", want, text)
		}
	}
	_, trouble, _ := strings.Cut(text, "In trouble")
	trouble, _, _ = strings.Cut(trouble, "What runs")
	if strings.Count(trouble, "version 1") != operationsBad || strings.Contains(trouble, "left") || strings.Contains(trouble, "Degraded") {
		t.Errorf("the worst isn't first: %s", trouble)
	}
	if !strings.Contains(answer.Body.String(), `href="/?health=idle"`) {
		t.Error("what is asleep isn't named")
	}
}

// TestNobodyFeelsTroubleWithoutCalls: of a version that was rolled back from, the
// page says that no calls go to it.
func TestNobodyFeelsTroubleWithoutCalls(t *testing.T) {
	f := &fakeAPI{ServeMux: http.NewServeMux()}
	degraded := modelmanager.Health{State: modelmanager.Degraded}
	f.json("GET /v1/activity", modelmanager.Activity{Models: 1, Versions: []modelmanager.VersionActivity{
		{Model: "m", Version: 2, Health: modelmanager.Health{State: modelmanager.Unhealthy}}, {Model: "m", Version: 1, Percent: 100, Health: degraded},
	}})
	f.json("GET /v1/jobs", modelmanager.JobList{})
	f.json("GET /v1/models", modelmanager.ModelList{})
	text := saidBy(t, newBrowser(t, newWeb(t, f)).get("/operations").Body.String())
	if first, second := strings.Index(text, "m version 1 "), strings.Index(text, "m version 2, which takes no calls"); first < 0 || second < first {
		t.Errorf("it says %.600s", text)
	}
}

// TestBackUndoesAChoice: each filter that is chosen is a step of the browser's
// history, and what is typed is none.
func TestBackUndoesAChoice(t *testing.T) {
	f := &fakeAPI{ServeMux: http.NewServeMux()}
	f.json("GET /v1/models", modelmanager.ModelList{})
	f.json("GET /v1/activity", modelmanager.Activity{})
	body := newBrowser(t, newWeb(t, f)).get("/?q=risk&owner=ana%40example.org").Body.String()
	form := regexp.MustCompile(`(?s)<form class="search".*?>`).FindString(body)
	if !strings.Contains(form, `hx-replace-url="true"`) || strings.Contains(form, "push") || strings.Contains(form, "change from") {
		t.Errorf("typing: %s", form)
	}
	for _, name := range []string{"serve", "health"} {
		tag := regexp.MustCompile(`<select id="` + name + `".*?>`).FindString(body)
		for _, want := range []string{`hx-get="/"`, `hx-include="closest form"`, `hx-push-url="true"`} {
			if !strings.Contains(tag, want) {
				t.Errorf("%s lacks %s", tag, want)
			}
		}
	}
	if chip := regexp.MustCompile(`<a class="chip on".*?>`).FindString(body); !strings.Contains(chip, `href="/?q=risk"`) || strings.Contains(chip, "hx-") {
		t.Errorf("a filter's link is no link: %s", chip)
	}
}

// TestTheCatalogueOffersWhatNarrows: owners and labels with their numbers, but
// none that all have; states; and how many there are of all.
func TestTheCatalogueOffersWhatNarrows(t *testing.T) {
	f := &fakeAPI{ServeMux: http.NewServeMux()}
	var asked string
	f.HandleFunc("GET /v1/models", func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.RawQuery
		_, _ = w.Write([]byte(`{"models": [{"name": "a", "owner": "ana@example.org"}], "next_page_token": "x", "counts": {"models": 1234,
			"owners": [{"owner": "ana@example.org", "models": 1000}, {"owner": "ben@example.org", "models": 34}],
			"labels": [{"name": "use", "value": "all", "models": 1234}, {"name": "team", "value": "x & y", "models": 7}]}}`))
	})
	f.json("GET /v1/activity", modelmanager.Activity{})
	b := newBrowser(t, newWeb(t, f))
	answer := b.get("/?q=risk&health=degraded")
	text, body := saidBy(t, answer.Body.String()), html.UnescapeString(answer.Body.String())
	for _, want := range []string{"1,234 models, 1 on this page", "ana@example.org 1,000", "team: x & y 7"} {
		if !strings.Contains(text, want) {
			t.Errorf("it doesn't say %q: %s", want, text)
		}
	}
	if strings.Contains(text, "use: all 1,234") {
		t.Error("a label that all have is offered")
	}
	for _, want := range []string{`<option value="degraded" selected>Degraded</option>`, `href="/?health=degraded&owner=ben%40example.org&q=risk"`, `href="/?health=degraded&label=team%3Dx+%26+y&q=risk"`} {
		if !strings.Contains(body, want) {
			t.Errorf("it lacks %s", want)
		}
	}
	if !strings.Contains(asked, "health=degraded") || !strings.Contains(asked, "count=12") {
		t.Errorf("it asks %s", asked)
	}
}

// TestWhatNoFieldOffersIsLeftOut: an address that somebody made by hand shows
// the list all the same, and says what it took no notice of, as the page calls it.
func TestWhatNoFieldOffersIsLeftOut(t *testing.T) {
	f := &fakeAPI{ServeMux: http.NewServeMux()}
	var asked string
	for _, call := range []string{"models", "jobs"} {
		f.HandleFunc("GET /v1/"+call, func(w http.ResponseWriter, r *http.Request) {
			asked = r.URL.RawQuery
			_, _ = w.Write([]byte(`{"` + call + `": []}`))
		})
	}
	f.json("GET /v1/activity", modelmanager.Activity{})
	b := newBrowser(t, newWeb(t, f))
	for address, wants := range map[string][]string{
		"/?health=foo&q=risk":           {"“foo” is no choice of “State”, and was left out."},
		"/?health=idle&serve=%3Cb%3E":   {"“<b>” is no choice of “Answers”, and was left out."},
		"/?serve=foo&health=%ff":        {"“foo” is no choice of “Answers”", "“?” is no choice of “State”"},
		"/jobs?state=foo&model=a-model": {"“foo” is no choice of “State”, and was left out."},
		"/?health=idle&serve=batch":     nil,
		"/jobs?state=failed":            nil,
	} {
		answer := b.get(address)
		text := saidBy(t, answer.Body.String())
		check(t, address, answer.Body.String())
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s doesn't say %q: %s", address, want, text)
			}
		}
		if answer.Code != http.StatusOK || strings.Contains(text, "is no choice of") != (wants != nil) || strings.Contains(asked, "foo") {
			t.Errorf("%s: %d, asks %s: %s", address, answer.Code, asked, text)
		}
		for _, kept := range []string{"q=risk", "health=idle", "model=a-model", "state=failed", "serve=batch"} {
			if strings.Contains(address, kept) && !strings.Contains(asked, kept) {
				t.Errorf("%s: %s is lost: it asks %s", address, kept, asked)
			}
		}
	}
}
