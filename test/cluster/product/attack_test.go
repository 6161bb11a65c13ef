package product_test

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev"
	"modelmanager.dev/client"
	"modelmanager.dev/test/cluster"
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

// connected: a model reaches what its model.yaml names, and nothing beside it.
func (i *installation) connected(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "visitor")
	if err := os.CopyFS(folder, os.DirFS("testdata/intruder")); err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(folder, "model.yaml")
	edit(t, settings, "name: intruder", "name: visitor")
	warehouse := i.name(t, "warehouse", i.Registry)
	edit(t, settings, "run:\n", fmt.Sprintf("network: [%q, \"169.254.169.254:80\"]\nrun:\n", warehouse))
	i.publish(t, folder)
	outcome := func(ctx context.Context, attempt string) (string, error) {
		row, err := json.Marshal(map[string]string{"attempt": attempt})
		if err != nil {
			return "", err
		}
		answer, err := i.api.Predict(ctx, "visitor", 0, modelmanager.PredictRequest{Rows: []json.RawMessage{row}})
		if err != nil {
			return "", err
		}
		var got struct{ Outcome string }
		err = json.Unmarshal(answer.Predictions[0], &got)
		return got.Outcome, err
	}
	cluster.Eventually(t, time.Minute, "it reaches what it names", func(ctx context.Context) (bool, string, error) {
		got, err := outcome(ctx, "connect "+warehouse)
		return got == "done: connected", got, err
	})
	for _, address := range []string{i.store.Address(), "169.254.169.254:80", i.service(t, "default", "kubernetes") + ":443"} {
		if got, err := outcome(t.Context(), "connect "+address); err != nil || !strings.HasPrefix(got, stopped) {
			t.Errorf("connecting to %s, which it doesn't name: %s (%v)", address, got, err)
		}
	}
	if err := i.api.Retire(t.Context(), "visitor", "the test is over"); err != nil {
		t.Error(err)
	}
}

// name gives an address beside the cluster a name in its DNS, for the time of the
// test, and returns that with the port.
func (i *installation) name(t *testing.T, name, address string) string {
	t.Helper()
	host, number, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseInt(number, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	const namespace = "default"
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
		ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Port: int32(port)}},
	}}
	if service, err = i.Client.CoreV1().Services(namespace).Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Client.CoreV1().Services(namespace).Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: name, UID: service.UID}},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{host}}},
		Ports:       []discoveryv1.EndpointPort{{Name: new(""), Port: new(int32(port)), Protocol: new(corev1.ProtocolTCP)}},
	}
	if _, err := i.Client.DiscoveryV1().EndpointSlices(namespace).Create(t.Context(), slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(name+"."+namespace+".svc", number)
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

// tokenOfAJob returns the token that the agents of another job have, as if it had
// been stolen while that job runs.
func (i *installation) tokenOfAJob(t *testing.T) string {
	t.Helper()
	input := filepath.Join(t.TempDir(), "slow.csv")
	if err := os.WriteFile(input, []byte("attempt\nconnect 192.0.2.1:9\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	job, err := i.submit(t, "intruder", input)
	if err != nil {
		t.Fatal(err)
	}
	var token string
	cluster.Eventually(t, time.Minute, "the job has a token", func(ctx context.Context) (bool, string, error) {
		list, err := i.Client.CoreV1().Secrets(models).List(ctx, metav1.ListOptions{LabelSelector: "modelmanager.dev/job=" + job.ID})
		if err != nil || len(list.Items) == 0 {
			return false, "there is no Secret", err
		}
		token = string(list.Items[0].Data["token"])
		return token != "", list.Items[0].Name, nil
	})
	return token
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
	token := i.tokenOfAJob(t)
	attacks := []attack{
		{"read /proc/1/environ", stopped, nil},
		{"environment", "done: ", secrets},
		{"read /mm-config/config.json", "", []string{`"key":"`, `"token":"`}},
		{"get POST " + foreign + "/shards/0/attempts " + token, "done: 403", nil},
		{"get POST " + foreign + "/plan/0/attempts " + token, "done: 403", nil},
		{"get POST " + foreign + "/shards/0/attempts/aaaaaaaaaa/commit " + token, "done: 403", nil},
		{"get GET http://" + i.service(t, system, "model-manager-internal") + ":8081/internal/load " + token, "done: 40", nil},
		{"get GET http://" + i.service(t, system, "model-manager") + "/v1/models " + token, stopped, nil},
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
