package product_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev"
	"modelmanager.dev/test/cluster"
)

var measure = flag.String("measure", "", "a file to write what is measured to; nothing is measured without it")

// measured compares what Model Manager does on a cluster with what the cluster
// does alone, in turns, and writes a table.
func (i *installation) measured(t *testing.T) {
	if *measure == "" {
		return
	}
	var table bytes.Buffer
	fmt.Fprintf(&table, "| what | ours | beside it | |\n|---|---|---|---|\n")
	i.publish(t, i.quick(t))
	i.measureStart(t, &table)
	i.measureCalls(t, &table)
	i.measureJobs(t, &table)
	i.measureIdle(t, &table)
	if err := os.WriteFile(*measure, table.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", &table)
}

const quickModel = "iris-species-java"

// quick is a model that goes to sleep soon.
func (i *installation) quick(t *testing.T) string {
	t.Helper()
	folder := copyOf(t, quickModel)
	edit(t, filepath.Join(folder, "model.yaml"), "run:\n", "scale: {idle: 3s}\nrun:\n")
	return folder
}

func median(d []time.Duration) time.Duration { return slices.Sorted(slices.Values(d))[len(d)/2] }

func spread(d []time.Duration) string {
	return fmt.Sprintf("%s (%s to %s)", median(d).Round(10*time.Millisecond), slices.Min(d).Round(10*time.Millisecond), slices.Max(d).Round(10*time.Millisecond))
}

// measureStart compares the first prediction of an idle model with the bare
// time of the same pod, from its creation until it is ready.
func (i *installation) measureStart(t *testing.T, table io.Writer) {
	request := modelmanager.PredictRequest{Rows: []json.RawMessage{i.row(t, quickModel)}}
	var ours, bare []time.Duration
	var template corev1.PodTemplateSpec
	info, err := i.api.Model(t.Context(), quickModel)
	if err != nil {
		t.Fatal(err)
	}
	for range 7 {
		started := time.Now()
		if _, err := i.api.Predict(t.Context(), quickModel, info.Latest, request); err != nil {
			t.Fatal(err)
		}
		ours = append(ours, time.Since(started))
		version := fmt.Sprintf("modelmanager.dev/model=%s,modelmanager.dev/version=%d", quickModel, info.Latest)
		deployment, err := i.Client.AppsV1().Deployments(models).List(t.Context(), metav1.ListOptions{LabelSelector: version})
		if err != nil || len(deployment.Items) != 1 {
			t.Fatalf("%d deployments (%v)", len(deployment.Items), err)
		}
		template = deployment.Items[0].Spec.Template
		secret := i.keptSecret(t, template) // it goes with the Deployment
		cluster.Eventually(t, 2*time.Minute, "the model sleeps", func(ctx context.Context) (bool, string, error) {
			pods, err := i.pods(ctx, version)
			return len(pods) == 0, fmt.Sprintf("%d pods", len(pods)), err
		})
		bare = append(bare, i.barePod(t, template, secret))
	}
	fmt.Fprintf(table, "| first prediction of an idle model (Java) | %s | the same pod, from created to ready: %s | %+d ms |\n",
		spread(ours), spread(bare), (median(ours) - median(bare)).Milliseconds())
}

// keptSecret copies the configuration of a version's agents.
func (i *installation) keptSecret(t *testing.T, template corev1.PodTemplateSpec) string {
	t.Helper()
	for _, volume := range template.Spec.Volumes {
		if volume.Secret == nil {
			continue
		}
		secret, err := i.Client.CoreV1().Secrets(models).Get(t.Context(), volume.Secret.SecretName, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		kept := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{GenerateName: "bare-"}, Data: secret.Data, Type: secret.Type}
		if kept, err = i.Client.CoreV1().Secrets(models).Create(t.Context(), kept, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		return volume.Secret.SecretName + "\x00" + kept.Name
	}
	t.Fatal("the pod has no configuration")
	return ""
}

// barePod makes a pod like a version's, and returns how long it took to be ready.
func (i *installation) barePod(t *testing.T, template corev1.PodTemplateSpec, secret string) time.Duration {
	t.Helper()
	old, kept, _ := strings.Cut(secret, "\x00")
	text, err := json.Marshal(template.Spec)
	if err != nil {
		t.Fatal(err)
	}
	var spec corev1.PodSpec
	if err := json.Unmarshal(bytes.ReplaceAll(text, []byte(`"`+old+`"`), []byte(`"`+kept+`"`)), &spec); err != nil {
		t.Fatal(err)
	}
	watch, err := i.Client.CoreV1().Pods(models).Watch(t.Context(), metav1.ListOptions{LabelSelector: "measured=bare"})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	started := time.Now()
	pod, err := i.Client.CoreV1().Pods(models).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "bare-", Labels: map[string]string{"measured": "bare"}}, Spec: spec,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var took time.Duration
	for took == 0 {
		select {
		case event, ok := <-watch.ResultChan():
			if !ok {
				t.Fatal("the watch ended")
			}
			seen, ok := event.Object.(*corev1.Pod)
			if !ok || seen.Name != pod.Name {
				continue
			}
			for _, condition := range seen.Status.Conditions {
				if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
					took = time.Since(started)
				}
			}
		case <-time.After(time.Minute):
			t.Fatal("the bare pod isn't ready after a minute")
		}
	}
	grace := int64(0)
	_ = i.Client.CoreV1().Pods(models).Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &grace})
	_ = i.Client.CoreV1().Secrets(models).Delete(t.Context(), kept, metav1.DeleteOptions{})
	return took
}

// measureCalls compares calls through the server with calls of the agent's own
// address, and through an nginx that runs in a pod as the server does, from this
// machine.
func (i *installation) measureCalls(t *testing.T, table io.Writer) {
	const model, calls = "tumour-malignancy", 3000
	row := i.row(t, model)
	body, err := json.Marshal(modelmanager.PredictRequest{Rows: []json.RawMessage{row}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.api.Predict(t.Context(), model, 0, modelmanager.PredictRequest{Rows: []json.RawMessage{row}}); err != nil {
		t.Fatal(err)
	}
	info, err := i.api.Model(t.Context(), model)
	if err != nil {
		t.Fatal(err)
	}
	pods, err := i.pods(t.Context(), fmt.Sprintf("modelmanager.dev/model=%s,modelmanager.dev/version=%d", model, info.Latest))
	if err != nil || len(pods) == 0 {
		t.Fatalf("%d pods (%v)", len(pods), err)
	}
	key := ""
	for _, volume := range pods[0].Spec.Volumes {
		if volume.Secret != nil {
			secret, err := i.Client.CoreV1().Secrets(models).Get(t.Context(), volume.Secret.SecretName, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			key = string(secret.Data["key"])
		}
	}
	proxy := i.startNginx(t, pods[0].Status.PodIP+":9440", key)
	paths := []struct{ url, token string }{
		{i.url + "/v1/models/" + model + "/predict", i.token},
		{"http://" + pods[0].Status.PodIP + ":9440/predict", key},
		{proxy.url, ""},
	}
	times := make([][]time.Duration, len(paths))
	before, proxyBefore := i.serverSeconds(t), i.podSeconds(t, proxy.pod)
	for range calls {
		for n, path := range paths {
			started := time.Now()
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, path.url, bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", "Bearer "+path.token)
			request.Header.Set("Content-Type", "application/json")
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil || response.StatusCode != http.StatusOK {
				t.Fatalf("%s: %s %s (%v)", path.url, response.Status, answer, err)
			}
			times[n] = append(times[n], time.Since(started))
		}
	}
	cpu, proxyCPU := (i.serverSeconds(t)-before)/calls*1e6, (i.podSeconds(t, proxy.pod)-proxyBefore)/calls*1e6
	at := func(d []time.Duration, share float64) time.Duration {
		return slices.Sorted(slices.Values(d))[int(share*float64(len(d)-1))]
	}
	for _, q := range []struct {
		name  string
		share float64
	}{{"p50", 0.5}, {"p99", 0.99}} {
		ours, direct, nginx := at(times[0], q.share), at(times[1], q.share), at(times[2], q.share)
		fmt.Fprintf(table, "| one prediction after the other, scikit-learn, %s | %s | the pod's own address: %s; nginx in a pod: %s | %+d µs; %+d µs |\n",
			q.name, ours.Round(10*time.Microsecond), direct.Round(10*time.Microsecond), nginx.Round(10*time.Microsecond),
			(ours - direct).Microseconds(), (ours - nginx).Microseconds())
	}
	fmt.Fprintf(table, "| processor time of the servers for each of them | %.0f µs | nginx: %.0f µs | %.1f× |\n", cpu, proxyCPU, cpu/proxyCPU)
}

// serverSeconds is the processor time that all replicas of the server have used.
func (i *installation) serverSeconds(t *testing.T) float64 {
	t.Helper()
	pods, err := i.servers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, pod := range pods {
		total += i.podSeconds(t, &pod)
	}
	return total
}

// podSeconds is the processor time that a pod has used.
func (i *installation) podSeconds(t *testing.T, pod *corev1.Pod) float64 {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "find", "/sys/fs/cgroup", "-type", "f", "-path", "*pod"+string(pod.UID)+"/cpuacct.usage").Output()
	if err != nil {
		t.Fatal(err)
	}
	path, _, _ := strings.Cut(string(output), "\n")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("the processor time of %s: %v; it is read from cgroup v1", pod.Name, err)
	}
	nanoseconds, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil {
		t.Fatal(err)
	}
	return nanoseconds / 1e9
}

// measureJobs compares a job over a small file with a bare Job of one pod.
func (i *installation) measureJobs(t *testing.T, table io.Writer) {
	const model = "tumour-malignancy"
	var first, ours, bare []time.Duration
	for range 5 {
		started := time.Now()
		job, err := i.submit(t, model, filepath.Join(root, "examples", "data", "tumour-malignancy.csv"))
		if err != nil {
			t.Fatal(err)
		}
		cluster.Eventually(t, time.Minute, "a row is predicted", func(ctx context.Context) (bool, string, error) {
			seen, err := i.api.Job(ctx, job.ID)
			return err == nil && seen.Rows.Predicted > 0, string(seen.State), err
		})
		first = append(first, time.Since(started))
		i.ended(t, job.ID, time.Minute)
		ours = append(ours, time.Since(started))
		bare = append(bare, i.bareJob(t))
	}
	fmt.Fprintf(table, "| a job of 569 rows (scikit-learn), from upload until its first rows are told as predicted | %s | | |\n", spread(first))
	fmt.Fprintf(table, "| the same job, from upload to result | %s | a bare Job whose pod does nothing: %s | %+d ms |\n",
		spread(ours), spread(bare), (median(ours) - median(bare)).Milliseconds())
}

func (i *installation) bareJob(t *testing.T) time.Duration {
	t.Helper()
	yes, no, user := true, false, int64(65532)
	started := time.Now()
	job, err := i.Client.BatchV1().Jobs(models).Create(t.Context(), &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "bare-"},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: &no,
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &user, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{
				Name: "nothing", Image: i.Base("python"), Command: []string{"true"},
				SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
				Resources:       corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("50m"), "memory": resource.MustParse("64Mi")}, Limits: corev1.ResourceList{"memory": resource.MustParse("64Mi")}},
			}},
		}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, time.Minute, "the bare Job is done", func(ctx context.Context) (bool, string, error) {
		seen, err := i.Client.BatchV1().Jobs(models).Get(ctx, job.Name, metav1.GetOptions{})
		return err == nil && seen.Status.Succeeded == 1, "", err
	})
	took := time.Since(started)
	background := metav1.DeletePropagationBackground
	_ = i.Client.BatchV1().Jobs(models).Delete(t.Context(), job.Name, metav1.DeleteOptions{PropagationPolicy: &background})
	return took
}
