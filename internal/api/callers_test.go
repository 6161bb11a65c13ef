package api_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/client"
	"modelmanager.dev/internal/auth"
)

// staff knows people by their names, and what each may do: "verb model".
type staff map[string][]string

func (s staff) Authenticate(_ context.Context, token string) (auth.Identity, error) {
	if s[token] == nil {
		return auth.Identity{}, modelmanager.Errorf(modelmanager.CodeUnauthenticated, "nobody's token")
	}
	return auth.Identity{Name: token}, nil
}

func (s staff) Authorize(_ context.Context, who auth.Identity, action auth.Action) (auth.Decision, error) {
	return auth.Decision{Allowed: slices.Contains(s[who.Name], strings.TrimSpace(string(action.Verb)+" "+action.Model))}, nil
}

// as is a client of somebody.
func (w *world) as(name string) *client.Client {
	w.t.Helper()
	transport := &http.Transport{}
	w.t.Cleanup(transport.CloseIdleConnections)
	c, err := client.New(w.server.URL, client.WithToken(name), client.WithHTTPClient(&http.Client{Transport: transport}))
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func TestWhoDidItIsKept(t *testing.T) {
	w := newWorldOf(t, auth.New(auth.Options{Authenticator: team, Authorizer: team}))
	w.client = w.as("ci")
	if first := w.publish("scorer", nil); first.By != "ci" {
		t.Errorf("published by %q", first.By)
	}
	w.publish("scorer", with("params", map[string]any{"factor": 3}))
	traffic, err := w.as("olga").Rollback(t.Context(), "scorer", "too high")
	if err != nil || traffic.By != "olga" {
		t.Errorf("%+v, %v", traffic, err)
	}
	upload, err := w.as("ann").Upload(t.Context(), "in.csv", strings.NewReader(table(5)))
	if err != nil {
		t.Fatal(err)
	}
	w.client = w.as("ann")
	request := modelmanager.JobRequest{Input: modelmanager.JobInput{Upload: upload.ID}}
	job := w.finished("scorer", request)
	if job.By != "ann" {
		t.Errorf("the job is by %q", job.By)
	}

	// The same key of somebody else is another job.
	var ids []string
	for _, name := range []string{"ann", "ben", "ann"} {
		same, err := w.as(name).SubmitJob(t.Context(), "scorer", request, "june")
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, same.ID)
	}
	if ids[0] == ids[1] || ids[0] != ids[2] {
		t.Errorf("jobs of the same key: %q", ids)
	}
	if err := w.as("olga").Retire(t.Context(), "scorer", ""); err != nil {
		t.Error(err)
	}
	history, err := w.as("vic").TrafficHistory(t.Context(), "scorer")
	if err != nil || len(history.History) == 0 {
		t.Fatalf("%+v, %v", history, err)
	}
}

// team: ci publishes, olga operates, ann and ben run jobs of one model, vic looks.
var team = staff{
	"ci":   {"publish", "upload", "get"},
	"olga": {"promote", "retire", "get"},
	"ann":  {"submit scorer", "get scorer", "upload"},
	"ben":  {"submit scorer", "get scorer"},
	"vic":  {"get scorer"},
	"eve":  {"submit other", "get other", "predict other"},
}

// TestWhoMayReadAJob: whoever may look at its model sees it; its rows are for
// those who may run such jobs.
func TestWhoMayReadAJob(t *testing.T) {
	w := newWorldOf(t, auth.New(auth.Options{Authenticator: team, Authorizer: team}))
	w.client = w.as("ci")
	w.publish("scorer", nil)
	w.publish("other", nil)
	upload, err := w.as("ann").Upload(t.Context(), "in.csv", strings.NewReader(table(5)))
	if err != nil {
		t.Fatal(err)
	}
	w.client = w.as("ann")
	job := w.finished("scorer", modelmanager.JobRequest{Input: modelmanager.JobInput{Upload: upload.ID}})
	drain := func(stream io.ReadCloser, err error) error {
		if err != nil {
			return err
		}
		defer stream.Close()
		_, err = io.Copy(io.Discard, stream)
		return err
	}
	const allowed, forbidden = modelmanager.Code(""), modelmanager.CodeForbidden
	for name, want := range map[string]struct{ look, rows modelmanager.Code }{
		"ann": {allowed, allowed}, "ben": {allowed, allowed}, "vic": {allowed, forbidden}, "eve": {forbidden, forbidden},
		"nobody": {modelmanager.CodeUnauthenticated, modelmanager.CodeUnauthenticated},
	} {
		c := w.as(name)
		for call, try := range map[string]struct {
			do   func() error
			want modelmanager.Code
		}{
			"get":      {func() error { _, err := c.Job(t.Context(), job.ID); return err }, want.look},
			"watch":    {func() error { _, err := c.WatchJob(t.Context(), job.ID, nil); return err }, want.look},
			"logs":     {func() error { return drain(c.JobLogs(t.Context(), job.ID)) }, want.look},
			"list":     {func() error { _, err := c.Jobs(t.Context(), client.JobQuery{Model: "scorer"}); return err }, want.look},
			"output":   {func() error { return drain(c.JobOutput(t.Context(), job.ID)) }, want.rows},
			"rejected": {func() error { return drain(c.JobRejected(t.Context(), job.ID)) }, want.rows},
		} {
			if err := try.do(); modelmanager.CodeOf(err) != try.want {
				t.Errorf("%s, %s: %v; want %q", name, call, err, try.want)
			}
		}
		if _, err := c.Jobs(t.Context(), client.JobQuery{}); err == nil {
			t.Errorf("%s lists all jobs", name)
		}
	}
	for _, name := range []string{"vic", "eve"} {
		if err := w.as(name).CancelJob(t.Context(), job.ID, true); modelmanager.CodeOf(err) != forbidden {
			t.Errorf("%s deletes: %v", name, err)
		}
		if _, err := w.as(name).RetryJob(t.Context(), job.ID); modelmanager.CodeOf(err) != forbidden {
			t.Errorf("%s retries: %v", name, err)
		}
	}
	if _, err := w.as("eve").Job(t.Context(), "no-such-job"); modelmanager.CodeOf(err) != modelmanager.CodeNotFound {
		t.Errorf("%v", err)
	}
	if _, err := w.as("nobody").Job(t.Context(), "no-such-job"); modelmanager.CodeOf(err) != modelmanager.CodeUnauthenticated {
		t.Errorf("%v", err)
	}
}

// TestRightsOfPredictions: checked before a body is read.
func TestRightsOfPredictions(t *testing.T) {
	w := newWorldOf(t, auth.New(auth.Options{Authenticator: team, Authorizer: team}))
	w.client = w.as("ci")
	w.publish("scorer", nil)
	w.publish("other", nil)
	rows := modelmanager.PredictRequest{Rows: []json.RawMessage{json.RawMessage(`{"x": 1}`)}}
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if answer, err := w.as("eve").Predict(t.Context(), "other", 0, rows); err != nil || answer.Version != 1 {
				t.Errorf("%+v, %v", answer, err)
			}
			if _, err := w.as("eve").Predict(t.Context(), "scorer", 1, rows); modelmanager.CodeOf(err) != modelmanager.CodeForbidden {
				t.Errorf("%v", err)
			}
		})
	}
	group.Wait()
	w.refused(401, modelmanager.CodeUnauthenticated, "POST", "/v1/models/other/predict", "{")
	w.refused(403, modelmanager.CodeForbidden, "POST", "/v1/models/no-such-model/predict", "{", "Authorization", "Bearer eve")
}
