package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/client"
	"modelmanager.dev/internal/spec"
)

func read(t *testing.T, open func(context.Context, string) (io.ReadCloser, error), id string) string {
	t.Helper()
	r, err := open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestTheLifeOfAJob(t *testing.T) {
	w := newWorld(t)
	ctx, c := t.Context(), w.client
	w.publish("scorer", nil)
	upload, err := c.Upload(ctx, "in.csv", strings.NewReader(table(30)))
	if err != nil || upload.Size == 0 || len(upload.SHA256) != 64 {
		t.Fatalf("%+v %v", upload, err)
	}
	request := modelmanager.JobRequest{
		Input: modelmanager.JobInput{Upload: upload.ID, Name: "in\r\nX-Evil: 1\".csv"}, Output: modelmanager.JobOutput{Add: []string{}},
		MaxRejected: "50%", Labels: map[string]string{"run": "nightly"},
	}
	check, err := c.CheckJob(ctx, "scorer", request)
	if err != nil || check.Input.Format != "csv" || check.Rows != 30 || !check.Complete || check.Mapping["x"] != "x" {
		t.Errorf("%+v %v", check, err)
	}
	if list, err := c.Jobs(ctx, client.JobQuery{}); err != nil || len(list.Jobs) != 0 {
		t.Errorf("a dry run made a job: %+v %v", list, err)
	}

	job := w.finished("scorer", request)
	if job.State != modelmanager.JobSucceeded || job.Model != "scorer" || job.Version != 1 || job.Rows.Read != 30 || job.Rows.Rejected != 1 ||
		job.Rows.Predicted != 29 || job.Shards.Done != job.Shards.Total || job.Finished == nil || job.By == "" {
		t.Errorf("%+v", job)
	}
	if output := read(t, c.JobOutput, job.ID); strings.Count(output, "\n") != 30 || !strings.Contains(output, "row-30,30,60") {
		t.Errorf("the output is %q", output)
	}
	if rejected := read(t, c.JobRejected, job.ID); !strings.Contains(rejected, "bad luck") || strings.Count(rejected, "\n") != 1 {
		t.Errorf("rejected: %q", rejected)
	}
	read(t, c.JobLogs, job.ID)
	response, _ := w.call("GET", "/v1/jobs/"+job.ID+"/output", "")
	if got := response.Header.Get("Content-Type"); got != "text/csv" {
		t.Errorf("the output's type is %q", got)
	}
	if got := response.Header.Get("Content-Disposition"); got != `attachment; filename="scorer-`+job.ID+`.csv"` || response.Header.Get("X-Evil") != "" {
		t.Errorf("%q in %v", got, response.Header)
	}
	for _, what := range []string{"output", "rejected", "logs", "events"} {
		if response, body := w.call("HEAD", "/v1/jobs/"+job.ID+"/"+what, ""); response.StatusCode != 200 || body != "" {
			t.Errorf("HEAD %s: %s", what, response.Status)
		}
	}
	list, err := c.Jobs(ctx, client.JobQuery{Model: "scorer", State: modelmanager.JobSucceeded, Labels: map[string]string{"run": "nightly"}})
	if err != nil || len(list.Jobs) != 1 || list.Jobs[0].ID != job.ID {
		t.Errorf("%+v %v", list, err)
	}
	if list, err := c.Jobs(ctx, client.JobQuery{Labels: map[string]string{"run": "daily"}}); err != nil || len(list.Jobs) != 0 {
		t.Errorf("%+v %v", list, err)
	}

	retry, err := c.RetryJob(ctx, job.ID)
	if err != nil || retry.RetryOf != job.ID {
		t.Fatalf("%+v %v", retry, err)
	}
	if retry, err = c.WatchJob(ctx, retry.ID, nil); err != nil || retry.Rows.Read != 1 {
		t.Errorf("%+v %v", retry, err)
	}
	if err := c.CancelJob(ctx, job.ID, true); err != nil {
		t.Fatal(err)
	}
	_, err = c.JobOutput(ctx, job.ID)
	if err == nil {
		t.Error("the deleted output is still there")
	}
	if kept, err := c.Job(ctx, job.ID); err != nil || kept.Rows.Read != 30 {
		t.Errorf("the manifest is gone: %+v %v", kept, err)
	}
}

func TestSubmittingAnswersWhereTheJobIs(t *testing.T) {
	w := newWorld(t)
	w.publish("scorer", nil)
	uri := w.file("in.csv", table(3))
	body := `{"input": {"uri": "` + uri + `"}, "max_rejected": 0}`
	response, text := w.call("POST", "/v1/models/scorer/jobs", body, "Idempotency-Key", "monday")
	var job modelmanager.Job
	if err := json.Unmarshal([]byte(text), &job); err != nil || response.StatusCode != 202 || response.Header.Get("Location") != "/v1/jobs/"+job.ID {
		t.Fatalf("%s %s %v", response.Status, text, response.Header)
	}
	w.publish("scorer", with("params", map[string]any{"factor": 3})) // moves the traffic
	var again modelmanager.Job
	_, text = w.call("POST", "/v1/models/scorer/jobs", body, "Idempotency-Key", "monday")
	if err := json.Unmarshal([]byte(text), &again); err != nil || again.ID != job.ID || again.Version != 1 {
		t.Errorf("the same key made another job: %s", text)
	}
	w.refused(409, modelmanager.CodeConflict, "POST", "/v1/models/scorer/jobs",
		`{"input": {"uri": "`+uri+`"}, "max_rejected": 7}`, "Idempotency-Key", "monday")
	w.refused(409, modelmanager.CodeConflict, "POST", "/v1/models/scorer/jobs",
		`{"input": {"uri": "`+uri+`"}, "max_rejected": 0, "version": 1}`, "Idempotency-Key", "monday")
	if _, err := w.client.WatchJob(t.Context(), job.ID, nil); err != nil {
		t.Fatal(err)
	}
	response, text = w.call("POST", "/v1/models/scorer/jobs?dry_run=true", body)
	var check modelmanager.JobCheck
	if err := json.Unmarshal([]byte(text), &check); err != nil || response.StatusCode != 200 || check.Rows != 3 {
		t.Errorf("%s %s", response.Status, text)
	}
}

func TestJobsThatCannotBe(t *testing.T) {
	w := newWorld(t)
	w.publish("scorer", nil)
	w.publish("real-time", with("serve", []any{"realtime"}))
	good := w.file("in.csv", table(3))
	for _, c := range []struct {
		status int
		code   modelmanager.Code
		model  string
		body   string
	}{
		{403, modelmanager.CodeForbidden, "scorer", `{"input": {"uri": "file:///etc/passwd"}}`},
		{403, modelmanager.CodeForbidden, "scorer", `{"input": {"uri": "` + good + `/../../../../../../etc/passwd"}}`},
		{409, modelmanager.CodeNotServed, "real-time", `{"input": {"uri": "` + good + `"}}`},
		{404, modelmanager.CodeNotFound, "scorer", `{"input": {"upload": "../../etc/passwd"}}`},
		{404, modelmanager.CodeNotFound, "scorer", `{"input": {"uri": "` + good + `"}, "version": 99}`},
		{404, modelmanager.CodeNotFound, "nobody", `{"input": {"uri": "` + good + `"}}`},
		{400, modelmanager.CodeBadRequest, "scorer", `{"input": {}}`},
		{400, modelmanager.CodeBadRequest, "scorer", `{"input": {"uri": "` + good + `"}, "max_rejected": "many"}`},
		{400, modelmanager.CodeBadRequest, "scorer", `{"input": {"uri": "` + good + `"}, "max_rejected": 1.5}`},
		{400, modelmanager.CodeBadRequest, "scorer", `{"input": {"uri": "` + good + `"}, "max_rejected": -1}`},
		{400, modelmanager.CodeBadRequest, "scorer", `{"input": {"uri": "` + good + `"}, "output": {"format": "pdf"}}`},
		{400, modelmanager.CodeBadRequest, "scorer", `{"input": {"uri": "` + good + `"}, "version": -1}`},
		{400, modelmanager.CodeBadRequest, "scorer", `{}`},
	} {
		w.refused(c.status, c.code, "POST", "/v1/models/"+c.model+"/jobs", c.body)
	}
	for _, path := range []string{"", "/output", "/rejected", "/logs", "/events"} {
		for _, id := range []string{"nothing", "..%2F..%2Fetc", "%00", strings.Repeat("a", 300)} {
			response, body := w.call("GET", "/v1/jobs/"+id+path, "")
			if response.StatusCode != 404 && response.StatusCode != 400 {
				t.Errorf("GET %s %s: %s %s", id, path, response.Status, body)
			}
		}
	}
	w.refused(404, modelmanager.CodeNotFound, "DELETE", "/v1/jobs/nothing", "")
	w.refused(404, modelmanager.CodeNotFound, "POST", "/v1/jobs/nothing/retry", "")
}

func TestCancelling(t *testing.T) {
	w := newWorld(t)
	w.publish("scorer", nil)
	begun := make(chan struct{}, 100)
	w.hold(func(ctx context.Context, _ *spec.Spec) error {
		begun <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	job, err := w.client.SubmitJob(t.Context(), "scorer", modelmanager.JobRequest{Input: modelmanager.JobInput{URI: w.file("in.csv", table(3))}}, "")
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	w.refused(409, modelmanager.CodeConflict, "DELETE", "/v1/jobs/"+job.ID+"?data=true", "")
	if err := w.client.CancelJob(t.Context(), job.ID, false); err != nil {
		t.Fatal(err)
	}
	if job, err = w.client.WatchJob(t.Context(), job.ID, nil); err != nil || job.State != modelmanager.JobCancelled {
		t.Errorf("%+v %v", job, err)
	}
	if err := w.client.CancelJob(t.Context(), job.ID, false); err != nil {
		t.Errorf("cancelling twice: %v", err)
	}
}

// event reads the next server-sent event.
func event(t *testing.T, lines *bufio.Scanner) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for lines.Scan() {
		name, value, found := strings.Cut(lines.Text(), ": ")
		switch {
		case lines.Text() == "" && len(fields) > 0:
			return fields
		case found && name != "":
			fields[name] = value
		}
	}
	return nil
}

func TestEvents(t *testing.T) {
	w := newWorld(t)
	w.publish("scorer", nil)
	begun, release := make(chan struct{}, 100), make(chan struct{})
	w.hold(func(ctx context.Context, _ *spec.Spec) error {
		begun <- struct{}{}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return ctx.Err()
	})
	job, err := w.client.SubmitJob(t.Context(), "scorer", modelmanager.JobRequest{Input: modelmanager.JobInput{URI: w.file("in.csv", table(3))}}, "")
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	open := func(ctx context.Context) (*http.Response, *bufio.Scanner) {
		request, _ := http.NewRequestWithContext(ctx, "GET", w.server.URL+"/v1/jobs/"+job.ID+"/events", nil)
		response, err := w.server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		return response, bufio.NewScanner(response.Body)
	}
	// A reader that goes away leaves nothing behind: goleak would tell.
	gone, leave := context.WithCancel(t.Context())
	response, lines := open(gone)
	if first := event(t, lines); first["event"] != "job" || first["id"] == "" || response.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("%v %v", first, response.Header)
	}
	leave()
	response.Body.Close()

	response, lines = open(t.Context())
	defer response.Body.Close()
	var last map[string]string
	first := event(t, lines)
	close(release)
	for next := first; next != nil; next = event(t, lines) {
		last = next
	}
	var end modelmanager.Job
	if err := json.Unmarshal([]byte(last["data"]), &end); err != nil || end.State != modelmanager.JobSucceeded || last["id"] != "succeeded" {
		t.Errorf("the last event is %v", last)
	}
	if response, body := w.call("GET", "/v1/jobs/"+job.ID+"/events", "", "Last-Event-ID", "succeeded"); response.StatusCode != 204 || body != "" {
		t.Errorf("coming back after the end: %s %s", response.Status, body)
	}
	if _, body := w.call("GET", "/v1/jobs/"+job.ID+"/events", "", "Last-Event-ID", "running"); !strings.Contains(body, "succeeded") {
		t.Errorf("coming back for the end: %s", body)
	}
}

func TestDrainEndsEvents(t *testing.T) {
	w := newWorld(t)
	w.publish("scorer", nil)
	begun := make(chan struct{}, 100)
	w.hold(func(ctx context.Context, _ *spec.Spec) error {
		begun <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	job, err := w.client.SubmitJob(t.Context(), "scorer", modelmanager.JobRequest{Input: modelmanager.JobInput{URI: w.file("in.csv", table(3))}}, "")
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	response, err := w.server.Client().Get(w.server.URL + "/v1/jobs/" + job.ID + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	event(t, lines)
	w.api.Drain()
	w.api.Drain()
	for event(t, lines) != nil { // ends, though the job doesn't
	}
}
