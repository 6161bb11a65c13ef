package web_test

import (
	"bufio"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
)

// download fetches a file.
func (w *jobsWorld) download(address string) (*http.Response, []byte) {
	w.t.Helper()
	response, err := w.browser.Get(w.absolute(address))
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		w.t.Fatalf("%s: %s %v %s", address, response.Status, err, body)
	}
	return response, body
}

// begin runs a file, and leaves the browser at its job.
func (w *jobsWorld) begin(content []byte) string {
	w.t.Helper()
	_, page := w.upload("a.csv", content)
	if status, page := w.submit("/models/doubler/batch/run", checkForm(w.t, page)); status != http.StatusOK {
		w.t.Fatalf("%d %s", status, mainOf(page))
	}
	return w.at.Path
}

func TestAJobIsFollowed(t *testing.T) {
	w := newJobsWorld(t)
	w.pause()
	address := w.begin(rowsOf(2500))
	page := w.page(address)
	if !strings.Contains(page, `<noscript><p><a href="`+address+`">See how it is now</a></p></noscript>`) || !strings.Contains(page, `data-events="`+address+`/live"`) {
		t.Error("nobody would see it go on")
	}
	if strings.Contains(page, "http-equiv") {
		t.Error("the page goes away from under who reads it")
	}
	has(t, page, "You can close this page", "Cancel the job…")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.absolute(address+"/live"), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := w.browser.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.Header.Get("Content-Type") != "text/event-stream" || response.Header.Get("Content-Encoding") != "" {
		t.Errorf("%v", response.Header)
	}
	lines := bufio.NewScanner(response.Body)
	released, last := false, ""
	for lines.Scan() {
		switch line := lines.Text(); {
		case line == "event: job" && !released:
			w.release()
			released = true
		case strings.HasPrefix(line, "event: "):
			last = line
		}
	}
	if last != "event: end" {
		t.Errorf("the last event is %q", last)
	}
	page = w.page(address)
	has(t, page, "Done, with rejected rows", "From all 2,497 rows.", "Here are the first 20 of 2,497 rows", "6 CPU-hours", "13 brings bad luck")
	if strings.Contains(page, "See how it is now") || strings.Contains(page, "data-events") {
		t.Error("a finished job is still followed")
	}
	if strings.Contains(page, "style=") {
		t.Error("a style stands in the page, which the policy forbids")
	}
	_, logs := w.visit(address + "/logs")
	has(t, logs, "The model has printed nothing")
	list := w.page("/jobs?mine=1&model=doubler")
	has(t, list, "a.csv", "2,500 rows, 3 rejected", address)
	if strings.Contains(list, "data-every") {
		t.Error("a list of finished jobs is asked for again and again")
	}
	has(t, w.page("/jobs?state=running"), "Nothing was found")
}

func TestAJobIsCancelledRetriedAndDeleted(t *testing.T) {
	w := newJobsWorld(t)
	w.pause()
	address := w.begin(rowsOf(50))
	if !strings.Contains(w.page("/jobs"), `data-every="3"`) {
		t.Error("a list of jobs under way isn't live")
	}
	form := url.Values{"csrf": {csrfOf(t, w.page(address))}}
	if status, _ := w.submit(address+"/cancel", url.Values{}); status != http.StatusForbidden {
		t.Errorf("without a token: %d", status)
	}
	_, page := w.submit(address+"/cancel", form)
	has(t, page, "The job is being cancelled.")
	if job := w.finished(); job.State != modelmanager.JobCancelled {
		t.Errorf("%+v", job)
	}
	page = w.page(address)
	has(t, page, "Cancelled", "The job was cancelled by local.", "Run it again…", "Look at the file again", "an upload that no job needs is deleted after a day")
	w.release()
	// What was cancelled can be looked at, and run after all.
	_, again, _ := strings.Cut(page, `<a class="button" href="`)
	again, _, _ = strings.Cut(again, `"`)
	has(t, w.page(html.UnescapeString(again)), "Of all 50 rows, every one fits.")
	_, page = w.submit(address+"/retry", form)
	has(t, page, "This new job runs", "an earlier job")
	if job := w.finished(); job.State != modelmanager.JobSucceeded || job.RetryOf != strings.TrimPrefix(address, "/jobs/") || job.Rows.Read != 50 {
		t.Errorf("%+v", job)
	}

	address = w.begin(rowsOf(50))
	w.finished()
	form = url.Values{"csrf": {csrfOf(t, w.page(address))}}
	_, page = w.submit(address+"/retry", form)
	has(t, page, "This new job runs what failed, was rejected, or was never come to before.", "an earlier job")
	if job := w.finished(); job.RetryOf != strings.TrimPrefix(address, "/jobs/") || job.Rows.Read != 1 {
		t.Errorf("%+v", job)
	}
	_, page = w.submit(address+"/delete", form)
	has(t, page, "The job's data is deleted.", "only its record is kept")
	status, page := w.submit(address+"/retry", form)
	if status < 400 || !strings.Contains(page, `role="alert"`) || !strings.Contains(page, "a.csv") {
		t.Errorf("%d %s", status, mainOf(page))
	}
}

func TestOperations(t *testing.T) {
	w := newJobsWorld(t)
	w.pause()
	w.begin(rowsOf(50))
	page := w.page("/operations")
	has(t, page, "Models asleep 1 of 1", "Nothing that runs is in trouble.", "Everything is asleep")
	if !strings.Contains(page, `data-every="5"`) {
		t.Error("nobody would see it change")
	}
}

// TestExcelIsOfferedForWhatASheetHolds: nobody is offered a file that can't be made.
func TestExcelIsOfferedForWhatASheetHolds(t *testing.T) {
	w := newJobsWorld(t)
	address := w.begin([]byte("x,side\n1,left\nmuch,left\n"))
	w.finished()
	excel, lines := address+"/rejected?format=xlsx", address+"/rejected?format=csv"
	if page := w.page(address); !strings.Contains(page, excel) || !strings.Contains(page, lines) {
		t.Error("a few rejected rows aren't offered")
	}
	key := strings.TrimPrefix(address, "/") + "/manifest.json"
	var m map[string]any
	data, err := w.bucket.ReadAll(t.Context(), key, 1<<20)
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	m["rows"].(map[string]any)["rejected"] = dataset.SheetRows + 1
	if data, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	if err := w.bucket.WriteAll(t.Context(), key, data); err != nil {
		t.Fatal(err)
	}
	if page := w.page(address); strings.Contains(page, excel) || !strings.Contains(page, lines) {
		t.Error("more rejected rows than a sheet holds are offered as Excel, or not at all")
	}
}
