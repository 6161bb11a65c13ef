package data

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelmanager.dev"
)

// bare asks for a file's rows and their predictions alone.
var bare = modelmanager.JobOutput{Add: []string{}}

// TestPassThrough joins predictions to columns that are no features: these
// come out byte for byte.
func TestPassThrough(t *testing.T) {
	for _, model := range []string{onePandas, oneR} {
		t.Run(model, func(t *testing.T) {
			need(t, languageOf(strings.Replace(model, "answers", "echo", 1)))
			const in = "id,how,x,\"a note\"\r\n007,frame,0.50,\" a \"\r\n\"7\",frame,.25,\"say \"\"hi\"\"\r\nthere\"\r\n1e3,frame,1,NULL\r\n"
			const want = "id,how,x,\"a note\",p\r\n007,frame,0.50,\" a \",0.5\r\n\"7\",frame,.25,\"say \"\"hi\"\"\r\nthere\",0.25\r\n1e3,frame,1,NULL,1\r\n"
			job, output, rejected := runJob(t, model, "in.csv", []byte(in), modelmanager.JobRequest{Output: bare})
			if job.State != modelmanager.JobSucceeded || len(rejected) > 0 {
				t.Fatal(job.State, job.Reason, rejected)
			}
			if diff := cmp.Diff(want, string(output)); diff != "" {
				t.Error("the output differs (-want +got):\n", diff)
			}
			const lines = `{"id":1.50,"how":"frame","x":0.5,"deep":{"a": [1,  2]}}` + "\n"
			_, output, _ = runJob(t, model, "in.jsonl", []byte(lines), modelmanager.JobRequest{Output: bare})
			if want := `{"id":1.50,"how":"frame","x":0.5,"deep":{"a": [1,  2]},"p":0.5}` + "\n"; string(output) != want {
				t.Errorf("the output is %s, want %s", output, want)
			}
		})
	}
}

// TestColumnNamedLikeAPrediction is refused, unless predictions get a prefix.
func TestColumnNamedLikeAPrediction(t *testing.T) {
	need(t, "python")
	file := []byte("how,x,p\nframe,0.5,old\n")
	job, _, _ := submit(t, onePandas, file, modelmanager.JobRequest{Output: bare})
	if job.Code != modelmanager.CodeInvalidInput || !strings.Contains(job.Reason, "output.prefix") {
		t.Errorf("the job %s: %s %s", job.State, job.Code, job.Reason)
	}
	output := bare
	output.Prefix = "new_"
	_, text, _ := submit(t, onePandas, file, modelmanager.JobRequest{Output: output})
	if want := "how,x,p,new_p\nframe,0.5,old,0.5\n"; string(text) != want {
		t.Errorf("the output is %q, want %q", text, want)
	}
}

// TestMissingColumnOfAJob is refused before the first row.
func TestMissingColumnOfAJob(t *testing.T) {
	need(t, "python")
	file := []byte("how,xx\nframe,0.5\n")
	job, _, _ := submit(t, onePandas, file, modelmanager.JobRequest{Output: bare})
	if job.Code != modelmanager.CodeMissingColumn || !strings.Contains(job.Reason, `"xx"`) || job.Rows.Read != 0 {
		t.Errorf("the job %s: %s %s, %d rows read", job.State, job.Code, job.Reason, job.Rows.Read)
	}
	mapped := modelmanager.JobRequest{Output: bare, Input: modelmanager.JobInput{Columns: map[string]string{"x": "xx"}}}
	if _, text, _ := submit(t, onePandas, file, mapped); string(text) != "how,xx,p\nframe,0.5,0.5\n" {
		t.Errorf("the output is %q", text)
	}
}

// TestInvalidPredictionsOfAJob are rejected rows.
func TestInvalidPredictionsOfAJob(t *testing.T) {
	for _, model := range []string{onePandas, oneR} {
		need(t, languageOf(strings.Replace(model, "answers", "echo", 1)))
		job, output, rejected := runJob(t, model, "in.csv", []byte("how,x\nbeyond,0.0625\nbeyond,0.9\nbeyond,0.125\n"), modelmanager.JobRequest{Output: bare, MaxRejected: "1"})
		if want := "how,x,p\nbeyond,0.0625,0.5\nbeyond,0.125,1\n"; string(output) != want {
			t.Errorf("%s: the job %s %s: %q, want %q", model, job.State, job.Reason, output, want)
		}
		if len(rejected) != 1 || rejected[0].Row != 2 || rejected[0].Feature != "p" {
			t.Errorf("%s: rejected are %v", model, rejected)
		}
	}
}

// TestFilled counts the rows that took a default.
func TestFilled(t *testing.T) {
	for _, model := range echoes {
		need(t, languageOf(model))
		rows := objects([]rowCase{
			{feature: "filled", json: leaveOut}, {feature: "filled", json: "2"},
			{feature: "filled", json: leaveOut}, {feature: "filled_null", json: leaveOut},
		})
		job, _, _ := runJob(t, model, "in.jsonl", []byte(strings.Join(rows, "\n")), modelmanager.JobRequest{Output: bare})
		if diff := cmp.Diff(map[string]int64{"filled": 2, "filled_null": 1}, job.Rows.Filled); diff != "" {
			t.Errorf("%s: filled differs (-want +got):\n%s", model, diff)
		}
	}
}

// submit runs a job over a CSV file.
func submit(t *testing.T, model string, file []byte, request modelmanager.JobRequest) (modelmanager.Job, []byte, []modelmanager.RowError) {
	t.Helper()
	return runJob(t, model, "in.csv", file, request)
}

// TestRequests are bodies that are wrong in ways that no file can be.
func TestRequests(t *testing.T) {
	good := strings.TrimPrefix(objects([]rowCase{{}})[0], "{")
	tests := []struct {
		rule, body string
		status     int
		part       string
	}{
		{"an unknown key, and the nearest", `{"rows": [{"sise": 1, ` + good + `]}`, 422, "did you mean size?"},
		{"an unknown key with nothing near", `{"rows": [{"customer_number": 1, ` + good + `]}`, 422, "is no feature of this model"},
		{"a key twice", `{"rows": [{"size": 1.5, ` + good + `]}`, 422, "twice"},
		{"invalid UTF-8", `{"rows": [{"text": "` + "\xff" + `"}]}`, 400, "UTF-8"},
		{"NaN", `{"rows": [` + objects([]rowCase{{feature: "size", json: "NaN"}})[0] + `]}`, 400, ""},
		{"a row that is no object", `{"rows": [7]}`, 422, "a row is an object"},
		{"rows twice", `{"rows": [], "rows": []}`, 400, "twice"},
		{"ids of another number", `{"ids": [1, 2], "rows": [{` + good + `]}`, 400, "ids"},
		{"no JSON", `size,text`, 400, ""},
	}
	for _, model := range echoes {
		for _, test := range tests {
			t.Run(model+"/"+test.rule, func(t *testing.T) {
				need(t, languageOf(model))
				response := post(t, "/v1/models/"+model+"/predict", "application/json", test.body)
				body, err := io.ReadAll(response.Body)
				if err != nil {
					t.Fatal(err)
				}
				if response.StatusCode != test.status || !strings.Contains(string(body), test.part) {
					t.Errorf("%s: %.600s, want %d: …%s…", response.Status, body, test.status, test.part)
				}
			})
		}
	}
}

// TestIDs come back with their predictions.
func TestIDs(t *testing.T) {
	need(t, "python")
	response := post(t, "/v1/models/"+onePandas+"/predict", "application/json",
		`{"ids": ["b", 1.50], "on_error": "partial", "rows": [{"how": "frame", "x": null}, {"how": "frame", "x": 0.5}]}`)
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer modelmanager.PredictResponse
	if err := json.Unmarshal(body, &answer); err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response.Status, err, string(body))
	}
	if len(answer.IDs) != 2 || string(answer.IDs[0]) != `"b"` || string(answer.IDs[1]) != "1.50" ||
		string(answer.Predictions[0]) != "null" || string(answer.Predictions[1]) != `{"p":0.5}` || len(answer.Errors) != 1 {
		t.Errorf("the answer is %s", body)
	}
}
