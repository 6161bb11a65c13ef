package product_test

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev"
	"modelmanager.dev/client"
)

// attack is what a model tries, and what has to come of it.
type attack struct {
	attempt string
	want    string   // the outcome begins with it
	without []string // and has none of these
}

const stopped = "stopped: "

// attacked: a model that means harm gains nothing, in real time and in a job.
func (i *installation) attacked(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "intruder")
	if err := os.CopyFS(folder, os.DirFS("testdata/intruder")); err != nil {
		t.Fatal(err)
	}
	i.publish(t, folder)
	attacks := i.attacks(t)
	var rows []json.RawMessage
	for _, a := range attacks {
		row, err := json.Marshal(map[string]string{"attempt": a.attempt})
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for n, row := range rows { // one by one: each may wait until a connection isn't made
		answer, err := i.api.Predict(ctx, "intruder", 0, modelmanager.PredictRequest{Rows: []json.RawMessage{row}})
		if err != nil {
			t.Fatalf("%s: %v", attacks[n].attempt, err)
		}
		var got struct{ Outcome string }
		if err := json.Unmarshal(answer.Predictions[0], &got); err != nil {
			t.Fatal(err)
		}
		attacks[n].judge(t, "in real time", got.Outcome)
	}
	i.attackedFromJob(t)
}

func (a attack) judge(t *testing.T, from, outcome string) {
	t.Helper()
	if !strings.HasPrefix(outcome, a.want) {
		t.Errorf("%s, %q: %s; it should begin with %q", from, a.attempt, outcome, a.want)
	}
	for _, secret := range a.without {
		if strings.Contains(outcome, secret) {
			t.Errorf("%s, %q tells %q: %s", from, a.attempt, secret, outcome)
		}
	}
}

// names of what a worker's environment must not have.
var secrets = []string{"MM_AGENT_KEY", "MM_JOB_TOKEN", "KUBERNETES_", "AWS_"}

func (i *installation) attacks(t *testing.T) []attack {
	t.Helper()
	// Somebody else's model has to run, to be attacked.
	if _, err := i.api.Predict(t.Context(), "tumour-malignancy", 0, modelmanager.PredictRequest{Rows: []json.RawMessage{i.row(t, "tumour-malignancy")}}); err != nil {
		t.Fatal(err)
	}
	victims, err := i.pods(t.Context(), "modelmanager.dev/model=tumour-malignancy")
	if err != nil || len(victims) == 0 {
		t.Fatalf("%d pods of another model (%v)", len(victims), err)
	}
	servers, err := i.servers(t.Context())
	if err != nil || len(servers) == 0 {
		t.Fatalf("%d servers (%v)", len(servers), err)
	}
	return []attack{
		{"nothing", "done: nothing", nil},
		{"read /proc/1/environ", stopped, nil},
		{"read /proc/1/mem", stopped, nil},
		{"read /proc/1/maps", stopped, nil},
		{"list /proc/1/fd", stopped, nil},
		{"environment", "done: ", secrets},
		{"read /mm-config/config.json", "", []string{`"key":"`, `"token":"`}},
		{"read /var/run/secrets/kubernetes.io/serviceaccount/token", stopped, nil},
		{"write /model/predict.py", stopped, nil},
		{"write /usr/bin/python3", stopped, nil},
		{"write /mm-agent/mm-agent", stopped, nil},
		{"root", stopped, nil},
		{"end 1", stopped, nil},
		{"get POST http://127.0.0.1:9440/predict", "done: 401", nil},
		{"get GET http://127.0.0.1:9440/load", "done: 401", nil},
		{"connect " + victims[0].Status.PodIP + ":9440", stopped, nil},
		{"connect " + servers[0].Status.PodIP + ":8081", stopped, nil},
		{"connect " + servers[0].Status.PodIP + ":8080", stopped, nil},
		{"connect " + i.service(t, system, "model-manager-internal") + ":8081", stopped, nil},
		{"connect " + i.service(t, "default", "kubernetes") + ":443", stopped, nil},
		{"connect " + i.store.Address(), stopped, nil},
		{"connect " + i.Registry, stopped, nil},
		{"connect 169.254.169.254:80", stopped, nil},
	}
}

func (i *installation) service(t *testing.T, namespace, name string) string {
	t.Helper()
	service, err := i.Client.CoreV1().Services(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return service.Spec.ClusterIP
}

// attackedFromJob: the agent of a job reaches the server and the storage; the
// model beside it reaches them too, and gets nothing from them.
func (i *installation) attackedFromJob(t *testing.T) {
	jobs, err := i.api.Jobs(t.Context(), client.JobQuery{Model: "tumour-malignancy"})
	if err != nil || len(jobs.Jobs) == 0 {
		t.Fatalf("%d jobs of another model (%v)", len(jobs.Jobs), err)
	}
	foreign := "http://" + i.service(t, system, "model-manager-internal") + ":8081/internal/jobs/" + jobs.Jobs[0].ID
	victims, err := i.pods(t.Context(), "modelmanager.dev/model=tumour-malignancy,!modelmanager.dev/job")
	if err != nil || len(victims) == 0 {
		t.Fatalf("%d pods of another model (%v)", len(victims), err)
	}
	attacks := []attack{
		{"read /proc/1/environ", stopped, nil},
		{"environment", "done: ", secrets},
		{"read /mm-config/config.json", "", []string{`"key":"`, `"token":"`}},
		{"get POST " + foreign + "/shards/0/attempts", "done: 403", nil},
		{"get POST " + foreign + "/plan/0/attempts", "done: 403", nil},
		{"get GET http://" + i.service(t, system, "model-manager-internal") + ":8081/internal/load", "done: 40", nil},
		{"get GET http://" + i.service(t, system, "model-manager-internal") + ":8081/internal/objects/x?grant=guessed", "done: 403", nil},
		{"get GET http://" + i.store.Address() + "/models/mm/jobs/" + jobs.Jobs[0].ID + "/request.json", "done: 40", nil},
		{"connect " + victims[0].Status.PodIP + ":9440", stopped, nil},
		{"connect " + i.service(t, "default", "kubernetes") + ":443", stopped, nil},
		{"connect 169.254.169.254:80", stopped, nil},
	}
	input := filepath.Join(t.TempDir(), "attacks.csv")
	file, err := os.Create(input)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(file)
	_, _ = w.WriteString("attempt\n")
	for _, a := range attacks {
		_, _ = w.WriteString(`"` + a.attempt + "\"\n")
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	job, err := i.submit(t, "intruder", input)
	if err != nil {
		t.Fatal(err)
	}
	if ended := i.ended(t, job.ID, 3*time.Minute); ended.State != modelmanager.JobSucceeded {
		t.Fatalf("the job ended as %s: %s", ended.State, ended.Reason)
	}
	output, err := i.api.JobOutput(t.Context(), job.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	records, err := csv.NewReader(output).ReadAll()
	if err != nil || len(records) != len(attacks)+1 {
		t.Fatalf("%d records for %d attacks (%v)", len(records), len(attacks), err)
	}
	for n, a := range attacks {
		a.judge(t, "from a job", records[n+1][1])
	}
}
