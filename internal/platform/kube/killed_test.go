package kube

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"modelmanager.dev/internal/platform"
)

// logsOf answers for the API server what it is asked for pods' logs; with
// status 0 it never does.
type logsOf func(pod string, query url.Values) (status int, log string)

func (l logsOf) RoundTrip(r *http.Request) (*http.Response, error) {
	path, inside := strings.CutPrefix(r.URL.Path, "/api/v1/namespaces/models/pods/")
	pod, ok := strings.CutSuffix(path, "/log")
	if !inside || !ok {
		return nil, fmt.Errorf("it asks for %s", r.URL)
	}
	status, log := l(pod, r.URL.Query())
	if status == 0 {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(log)), Request: r}, nil
}

// logs lets the scene's pods have logs, and its driver run the step.
func (p *theatre) logs(logs logsOf) {
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "http://cluster.example.org", Transport: logs, QPS: -1})
	if err != nil {
		p.Fatal(err)
	}
	d := p.watch.driver
	d.client, d.options.Namespace = client, "models"
	d.taken = map[stepKey]<-chan struct{}{{"j", platform.StepShards}: nil}
}

func outOfMemoryAfter(words string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Status.Phase = corev1.PodFailed
		container(pod, ended137("OOMKilled", words, 137), corev1.ContainerState{})
	}
}

const outOfIt = "it ran out of memory, at its limit of 512Mi (resources.memory 256Mi and 256Mi for its agent); raise resources.memory"

// The step's end, after which its pods are removed, waits for the log.
func TestAKilledTasksLogIsRead(t *testing.T) {
	play(t, 1, func(p *theatre) {
		answer := make(chan struct{})
		p.logs(func(pod string, query url.Values) (int, string) {
			if pod == "j-0-1" {
				<-answer
			}
			if query.Get("container") != modelContainer || query.Get("tailLines") == "" || query.Get("limitBytes") == "" {
				t.Errorf("it asks for %v", query)
			}
			return http.StatusOK, "loading " + pod
		})
		p.lists(nil, p.job(nothing))
		podsOfTasks{p.watch}.set(p.pod(0, 0, runs))
		podsOfTasks{p.watch}.set(p.pod(0, 0, outOfMemoryAfter("")))
		podsOfTasks{p.watch}.set(p.pod(0, 0, outOfMemoryAfter("")))
		p.wants("0 running attempt 1", "0 killed attempt 1: "+outOfIt+"\nloading j-0-0")
		podsOfTasks{p.watch}.set(p.pod(0, 1, runs))
		podsOfTasks{p.watch}.set(p.pod(0, 1, fails(137, "")))
		failed := p.job(func(job *batchv1.Job) {
			finished(batchv1.JobFailed, batchv1.JobReasonFailedIndexes)(job)
			job.Status.FailedIndexes = new("0")
		})
		jobsOfTasks{p.watch}.set(failed)
		p.wants("0 running attempt 2", "0 failed attempt 2 internal: it was killed (signal 9)")
		close(answer)
		p.wants("0 killed attempt 2: it was killed (signal 9)\nloading j-0-1", "-1 failed internal: it was killed (signal 9)")
	})
}

// A server that goes on with a step reads the logs, too, and only then.
func TestAnotherServerReadsKilledTasksLogs(t *testing.T) {
	play(t, 1, func(p *theatre) {
		p.logs(func(pod string, _ url.Values) (int, string) { return http.StatusOK, "loading" })
		p.watch.driver.taken = map[stepKey]<-chan struct{}{}
		p.lists([]*corev1.Pod{p.pod(0, 0, outOfMemoryAfter(""))}, p.job(func(job *batchv1.Job) {
			finished(batchv1.JobFailed, batchv1.JobReasonFailedIndexes)(job)
			job.Status.FailedIndexes = new("0")
		}))
		p.wants("0 running attempt 1", "0 failed attempt 1 model_error: "+outOfIt, "-1 failed model_error: "+outOfIt)
		p.watch.driver.take(stepKey{"j", platform.StepShards}, nil)
		p.watch.again(stepKey{"j", platform.StepShards})
		p.wants("0 failed attempt 1 model_error: "+outOfIt, "0 killed attempt 1: "+outOfIt+"\nloading", "-1 failed model_error: "+outOfIt)
	})
}

// Where the log has gone, the pod's status may have kept its end; and nobody
// waits for long.
func TestALogThatIsGone(t *testing.T) {
	for name, logs := range map[string]logsOf{
		"pod gone":  func(string, url.Values) (int, string) { return http.StatusNotFound, "not found" },
		"log gone":  func(string, url.Values) (int, string) { return http.StatusOK, noLog + "containerd://11" },
		"node lost": func(string, url.Values) (int, string) { return 0, "" },
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 1, func(p *theatre) {
				p.logs(logs)
				p.lists(nil, p.job(nothing))
				podsOfTasks{p.watch}.set(p.pod(0, 0, outOfMemoryAfter("its last words")))
				time.Sleep(time.Minute)
				p.wants("0 killed attempt 1: " + outOfIt + "\nits last words")
			})
		})
	}
}

// What an agent ended by itself, it has sent.
func TestAgentsThatEndHaveSentTheirLogs(t *testing.T) {
	play(t, 2, func(p *theatre) {
		p.logs(func(pod string, _ url.Values) (int, string) {
			t.Errorf("it reads the log of %s", pod)
			return http.StatusOK, ""
		})
		p.lists(nil, p.job(nothing))
		podsOfTasks{p.watch}.set(p.pod(0, 0, fails(11, "mm-agent: it was interrupted")))
		podsOfTasks{p.watch}.set(p.pod(1, 0, succeeds))
		p.wants("1 running attempt 1", "1 succeeded attempt 1")
	})
}

// The API server gives the beginning of the lines that are asked for: of long
// ones, fewer are.
func TestTheEndOfALongLog(t *testing.T) {
	var asked atomic.Int64
	play(t, 1, func(p *theatre) {
		line := strings.Repeat("x", bytesOfTail/200-1) + "\n"
		p.logs(func(_ string, query url.Values) (int, string) {
			asked.Add(1)
			if query.Get("tailLines") == "1000" {
				return http.StatusOK, strings.Repeat(line, 200) + line[:bytesOfTail-200*len(line)]
			}
			return http.StatusOK, strings.Repeat(line, 99) + "the end\n"
		})
		p.lists(nil, p.job(nothing))
		podsOfTasks{p.watch}.set(p.pod(0, 0, outOfMemoryAfter("")))
		p.wants("0 killed attempt 1: " + outOfIt + "\n[only the last 64 KiB are kept]\n" + strings.Repeat(line, 12) + "the end\n")
	})
	if asked.Load() != 2 {
		t.Errorf("it asked %d times, want 2", asked.Load())
	}
}
