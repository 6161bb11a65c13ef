package api_test

import (
	"net/http"
	"strings"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/client"
)

func TestALookAtAJobsResults(t *testing.T) {
	w := newWorld(t)
	w.publish("scorer", nil)
	job := w.finished("scorer", modelmanager.JobRequest{
		Input:       modelmanager.JobInput{URI: w.file("in.csv", "id,x\n=a,1\nb,much\nc,13\n")},
		Output:      modelmanager.JobOutput{Formulas: "escape"},
		MaxRejected: "100%",
	})
	sample, err := w.client.SampleJob(t.Context(), job.ID, 5)
	if err != nil || len(sample.Rows) != 1 || sample.Rows[0][0] != "'=a" || sample.Rows[0][2] != "2" || sample.Total != 1 || len(sample.Predictions) != 1 {
		t.Errorf("%+v %v", sample, err)
	}
	w.refused(http.StatusBadRequest, modelmanager.CodeBadRequest, http.MethodGet, "/v1/jobs/"+job.ID+"/sample?rows=101", "")
	response, table := w.call(http.MethodGet, "/v1/jobs/"+job.ID+"/rejected?format=csv", "")
	if response.Header.Get("Content-Type") != "text/csv" || !strings.Contains(response.Header.Get("Content-Disposition"), "-rejected.csv") ||
		!strings.HasPrefix(table, "\ufeffid,x,_row,_column,_error,_raw\r\nb,much,2,x,") || !strings.Contains(table, "c,13,3,,13 brings bad luck,\r\n") {
		t.Errorf("%v %q", response.Header, table)
	}
	w.refused(http.StatusBadRequest, modelmanager.CodeBadRequest, http.MethodGet, "/v1/jobs/"+job.ID+"/rejected?format=doc", "")
	if list, err := w.client.Jobs(t.Context(), client.JobQuery{Mine: true}); err != nil || len(list.Jobs) != 1 {
		t.Errorf("%+v %v", list, err)
	}
	detail := w.refused(http.StatusBadRequest, modelmanager.CodeBadRequest, http.MethodPost, "/v1/models/scorer/jobs",
		`{"input": {"uri": "`+w.file("in.csv", "x\n1\n")+`"}, "output": {"formulas": "run"}}`)
	if !strings.Contains(detail, "keep or escape") {
		t.Error(detail)
	}
}

// TestAWholeFileIsChecked over HTTP: each line tells how far it is, the last is
// the check.
func TestAWholeFileIsChecked(t *testing.T) {
	w := newWorld(t)
	w.publish("scorer", nil)
	request := modelmanager.JobRequest{Input: modelmanager.JobInput{URI: w.file("in.csv", table(30_000)+"last,much\n")}}
	told := 0
	check, err := w.client.CheckWholeJob(t.Context(), "scorer", request, func(check modelmanager.JobCheck) {
		if told++; !check.UnderWay || check.Rows > 30_001 {
			t.Errorf("%+v", check)
		}
	})
	if err != nil || told == 0 || !check.Complete || check.Rows != 30_001 || check.Rejected != 1 || check.Problems[0].Cells[0].Value != "much" {
		t.Errorf("%d told; %+v %v", told, check, err)
	}
	request.Input.URI = "file:///nowhere/in.csv"
	if _, err := w.client.CheckWholeJob(t.Context(), "scorer", request, nil); modelmanager.CodeOf(err) == modelmanager.CodeUnavailable || err == nil {
		t.Errorf("%v", err)
	}
	_, err = w.client.CheckWholeJob(t.Context(), "nobody", request, nil)
	refusedWith(t, modelmanager.CodeNotFound, err)
}
