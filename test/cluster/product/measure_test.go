package product_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	i.measureStart(t, &table)
	i.measureCalls(t, &table)
	i.measureJobs(t, &table)
	i.measureIdle(t, &table)
	if err := os.WriteFile(*measure, table.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", &table)
}

// quick is a model that goes to sleep soon.
func (i *installation) quick(t *testing.T, model string) string {
	t.Helper()
	folder := copyOf(t, model)
	edit(t, filepath.Join(folder, "model.yaml"), "run:\n", "scale: {idle: 3s}\nrun:\n")
	return folder
}

func median(d []time.Duration) time.Duration { return slices.Sorted(slices.Values(d))[len(d)/2] }

func spread(d []time.Duration) string {
	return fmt.Sprintf("%s (%s to %s)", median(d).Round(10*time.Millisecond), slices.Min(d).Round(10*time.Millisecond), slices.Max(d).Round(10*time.Millisecond))
}

// measureStart compares the first prediction of an idle model with that of a
// bare pod like its replica, asked itself from its creation on until it answers.
func (i *installation) measureStart(t *testing.T, table io.Writer) {
	for _, language := range slices.Sorted(maps.Keys(examples)) {
		model := examples[language]
		i.publish(t, i.quick(t, model))
		latest := i.latest(t, model)
		version := fmt.Sprintf("modelmanager.dev/model=%s,modelmanager.dev/version=%d", model, latest)
		request := modelmanager.PredictRequest{Rows: []json.RawMessage{i.row(t, model)}}
		var ours, bare []time.Duration
		for round := range 8 {
			started := time.Now()
			if _, err := i.api.Predict(t.Context(), model, latest, request); err != nil {
				t.Fatal(err)
			}
			took := time.Since(started)
			deployment, err := i.Client.AppsV1().Deployments(models).List(t.Context(), metav1.ListOptions{LabelSelector: version})
			if err != nil || len(deployment.Items) != 1 {
				t.Fatalf("%d deployments (%v)", len(deployment.Items), err)
			}
			copied := i.copyPod(t, deployment.Items[0].Spec.Template) // its configuration goes with the Deployment
			cluster.Eventually(t, 2*time.Minute, "the model sleeps", func(ctx context.Context) (bool, string, error) {
				pods, err := i.pods(ctx, version)
				return len(pods) == 0, fmt.Sprintf("%d pods", len(pods)), err
			})
			alone := copied.answersAfter(t, i, request)
			if round > 0 { // in which the image was pulled
				ours, bare = append(ours, took), append(bare, alone)
			}
		}
		fmt.Fprintf(table, "| first prediction of an idle model, %s | %s | a pod like its replica, from created to answering: %s | %+d ms |\n",
			language, spread(ours), spread(bare), (median(ours) - median(bare)).Milliseconds())
	}
}

// bare is a pod like a version's replica, without anything above it.
type bare struct {
	spec corev1.PodSpec
	key  string // of its agent
}

// copyPod copies what a version's pods are made from, their configuration included.
func (i *installation) copyPod(t *testing.T, template corev1.PodTemplateSpec) bare {
	t.Helper()
	pod := bare{spec: template.Spec}
	for n, volume := range pod.spec.Volumes {
		if volume.Secret == nil {
			continue
		}
		secret, err := i.Client.CoreV1().Secrets(models).Get(t.Context(), volume.Secret.SecretName, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pod.key = string(secret.Data["key"])
		kept := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{GenerateName: "bare-"}, Data: secret.Data, Type: secret.Type}
		if kept, err = i.Client.CoreV1().Secrets(models).Create(t.Context(), kept, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		source := *volume.Secret
		source.SecretName = kept.Name
		pod.spec.Volumes[n].Secret = &source
	}
	if pod.key == "" {
		t.Fatal("the pod has no configuration")
	}
	return pod
}

// answersAfter makes the pod, and returns how long it took until it answered.
func (b bare) answersAfter(t *testing.T, i *installation, request modelmanager.PredictRequest) time.Duration {
	t.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := i.Client.CoreV1().Pods(models).Watch(t.Context(), metav1.ListOptions{LabelSelector: "measured=bare"})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	started := time.Now()
	pod, err := i.Client.CoreV1().Pods(models).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "bare-", Labels: map[string]string{"measured": "bare"}}, Spec: b.spec,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = i.Client.CoreV1().Pods(models).Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))})
		for _, volume := range b.spec.Volumes {
			if volume.Secret != nil {
				_ = i.Client.CoreV1().Secrets(models).Delete(t.Context(), volume.Secret.SecretName, metav1.DeleteOptions{})
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	address := ""
	for address == "" {
		select {
		case event, ok := <-watch.ResultChan():
			if !ok {
				t.Fatal("the watch ended")
			}
			if seen, ok := event.Object.(*corev1.Pod); ok && seen.Name == pod.Name {
				address = seen.Status.PodIP
			}
		case <-ctx.Done():
			t.Fatal("the bare pod has no address after a minute")
		}
	}
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		attempt, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+":9440/predict", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		attempt.Header.Set("Authorization", "Bearer "+b.key)
		attempt.Header.Set("Content-Type", "application/json")
		if response, err := http.DefaultClient.Do(attempt); err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				tick.Stop()
				return time.Since(started)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the bare pod doesn't answer within a minute")
		}
	}
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
	call := func(n int) time.Duration {
		started := time.Now()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, paths[n].url, bytes.NewReader(body))
		if err != nil {
			t.Error(err)
			return 0
		}
		request.Header.Set("Authorization", "Bearer "+paths[n].token)
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Error(err)
			return 0
		}
		answer, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s %s (%v)", paths[n].url, response.Status, answer, err)
		}
		return time.Since(started)
	}
	times := make([][]time.Duration, len(paths))
	for range calls {
		for n := range paths {
			times[n] = append(times[n], call(n))
		}
	}
	// Processor time for each of many calls at a time, of one way after the other.
	const callers = 8
	busy := func(n int, used func() float64) float64 {
		before := used()
		var group sync.WaitGroup
		for range callers {
			group.Go(func() {
				for range calls / callers {
					call(n)
				}
			})
		}
		group.Wait()
		return (used() - before) / calls * 1e6
	}
	cpu := busy(0, func() float64 { return i.serverSeconds(t) })
	proxyCPU := busy(2, func() float64 { return i.podSeconds(t, proxy.pod) })
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
	fmt.Fprintf(table, "| processor time of the servers for each prediction, of 8 callers at a time | %.0f µs | nginx: %.0f µs | %.1f× |\n", cpu, proxyCPU, cpu/proxyCPU)
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
