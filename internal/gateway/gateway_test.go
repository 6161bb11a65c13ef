package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/problem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func codeOf(t *testing.T, a answer) modelmanager.Code {
	t.Helper()
	var p problem.Problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatalf("%q is no problem: %v", a.body, err)
	}
	if p.Status != a.status {
		t.Errorf("the problem says %d, the answer %d", p.Status, a.status)
	}
	return p.Code
}

func TestAnswersThroughTraffic(t *testing.T) {
	w := newWorld(t, Limits{})
	w.start("m", 3, says(`{"version": 3}`))
	w.traffic("m", all(3))
	for range 3 {
		a := w.call("m/predict", `{"rows": []}`)
		a.want(t, 200, `{"version": 3}`)
		if a.version != "3" || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("headers %v", a.header)
		}
	}
	w.call("m/versions/3/predict", "").want(t, 200, `"version": 3`)
	if calls := w.totals("m", 3).Classes; calls != [6]int64{2: 4} {
		t.Errorf("calls by class: %v", calls)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, Limits{Body: 10})
	w.traffic("none")
	w.start("m", 1, says("{}"))
	w.traffic("m", all(1))
	w.mu.Lock()
	w.models["retired"] = modelmanager.Model{Name: "retired", Retired: &modelmanager.Change{Reason: "replaced"}, History: []modelmanager.Traffic{modelmanager.All(1)}}
	w.models["batch"] = modelmanager.Model{Name: "batch", Serve: []modelmanager.Mode{modelmanager.Batch}, History: []modelmanager.Traffic{modelmanager.All(1)}}
	w.mu.Unlock()
	for path, want := range map[string]modelmanager.Code{
		"unknown/predict":            modelmanager.CodeNotFound,
		"none/predict":               modelmanager.CodeConflict,
		"retired/predict":            modelmanager.CodeRetired,
		"retired/versions/1/predict": modelmanager.CodeRetired,
		"batch/predict":              modelmanager.CodeNotServed,
		"m/versions/101/predict":     modelmanager.CodeNotFound,
		"m/versions/1001/predict":    modelmanager.CodeNotFound,
		"m/versions/-1/predict":      modelmanager.CodeNotFound,
	} {
		if got := codeOf(t, w.call(path, "{}")); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if got := codeOf(t, w.call("m/predict", "01234567890")); got != modelmanager.CodeTooLarge {
		t.Errorf("a long body: %s", got)
	}
	request, _ := http.NewRequest("POST", w.server.URL+"/v1/models/m/predict", io.MultiReader(strings.NewReader("0123456789"), strings.NewReader("x")))
	reply, err := w.server.Client().Do(request) // chunked
	if err != nil || reply.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a long chunked body: %v %v", reply, err)
	}
	reply.Body.Close()
	w.call("m/predict", "0123456789").want(t, 200, "{}")
}

func TestLongBodiesAndAnswers(t *testing.T) {
	w := newWorld(t, Limits{})
	w.start("m", 1, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Content-Type") == "known" {
			rw.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		for len(body) > 0 {
			n := min(len(body), 10_000)
			rw.Write(body[:n])
			if r.Header.Get("Content-Type") == "flushed" {
				rw.(http.Flusher).Flush()
			}
			body = body[n:]
		}
	}))
	w.traffic("m", all(1))
	for _, size := range []int{0, 1, 2047, 4095, 4096, 4097, 16 << 10, 32<<10 + 1, 64 << 10, 64<<10 + 1, 1 << 20, 5_000_001} {
		body := strings.Repeat("0123456789abcdef", size/16+1)[:size]
		for _, kind := range []string{"known", "chunked", "flushed"} {
			a := w.call("m/predict", body, "Content-Type", kind)
			if a.err != nil || a.body != body {
				t.Errorf("%s, %d bytes: %d with %d bytes, %v", kind, size, a.status, len(a.body), a.err)
			}
		}
	}
}

func TestColdVersionStarts(t *testing.T) {
	w := newWorld(t, Limits{})
	w.traffic("m", all(1))
	w.onEnsure = func(ref platform.Ref) { w.start(ref.Model, ref.Version, says("warm")) }
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() { w.call("m/predict", "{}").want(t, 200, "warm") })
	}
	wait.Wait()
	if n := w.ensured[platform.Ref{Model: "m", Version: 1}]; n != 1 {
		t.Errorf("the platform was asked %d times", n)
	}
}

func TestColdVersionPastDeadline(t *testing.T) {
	w := newWorld(t, Limits{})
	w.traffic("tumour", all(3))
	w.report(platform.Replica{ID: "r", Ref: platform.Ref{Model: "tumour", Version: 3}, Stage: agent.StageLoading}, false)
	a := w.call("tumour/predict", "{}", "Prefer", "respond-async, wait=1")
	a.want(t, 503, "tumour version 3 is loading its model")
	if a.header.Get("Retry-After") == "" || codeOf(t, a) != modelmanager.CodeUnavailable || a.version != "3" {
		t.Errorf("%v %v", a.header, a.body)
	}
}

func TestFailedVersionAnswersAtOnce(t *testing.T) {
	w := newWorld(t, Limits{})
	w.traffic("m", all(1))
	w.onEnsure = func(ref platform.Ref) {
		w.report(platform.Replica{ID: "r", Ref: ref, Stage: agent.StageFailed, Reason: "No module named 'pandas'"}, false)
	}
	started := time.Now()
	w.call("m/predict", "{}").want(t, 503, "No module named 'pandas'")
	w.call("m/predict", "{}").want(t, 503, "No module named 'pandas'")
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

// TestCallsWaitForAWorkerThatComesBack: a worker that died over somebody's bad
// row is started again at once; the calls of others wait for it.
func TestCallsWaitForAWorkerThatComesBack(t *testing.T) {
	w := newWorld(t, Limits{})
	w.traffic("m", all(1))
	replica, _ := w.start("m", 1, says("back"))
	w.call("m/predict", "{}").want(t, 200, "")
	replica.Stage, replica.Reason = agent.StageFailed, "the worker was killed by SIGSEGV"
	w.report(replica, false)
	answers := make(chan answer, 1)
	go func() { answers <- w.call("m/predict", "{}") }()
	select {
	case a := <-answers:
		t.Fatalf("a call was refused at once: %d %s", a.status, a.body)
	case <-time.After(100 * time.Millisecond):
	}
	replica.Stage, replica.Reason = agent.StageReady, ""
	w.report(replica, false)
	(<-answers).want(t, 200, "")
}

func TestQueueIsBounded(t *testing.T) {
	w := newWorld(t, Limits{Queue: 5})
	w.traffic("m", all(1))
	var refused, answered atomic.Int64
	var wait sync.WaitGroup
	for range 12 {
		wait.Go(func() {
			switch a := w.call("m/predict", "{}"); a.status {
			case 200:
				answered.Add(1)
			case http.StatusTooManyRequests:
				if a.header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
				refused.Add(1)
			}
		})
	}
	until(t, "refusals", func() bool { return refused.Load() == 7 })
	for _, load := range w.gateway.Load() {
		if load.Waiting != 5 || load.InFlight != 0 {
			t.Errorf("load %+v", load)
		}
	}
	w.start("m", 1, says("ok"))
	wait.Wait()
	if answered.Load() != 5 {
		t.Errorf("%d answered", answered.Load())
	}
}

func TestPromoteUnderLoadFailsNothing(t *testing.T) {
	w := newWorld(t, Limits{})
	w.start("m", 1, says("1"))
	w.traffic("m", all(1))
	stop := make(chan struct{})
	var failed, total atomic.Int64
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				a := w.call("m/predict", "{}")
				total.Add(1)
				if a.status != 200 || a.body != a.version {
					failed.Add(1)
					t.Errorf("%d %q by %q, %v", a.status, a.body, a.version, a.err)
					return
				}
			}
		})
	}
	progress := func() {
		n := total.Load() + 50
		until(t, "calls", func() bool { return total.Load() > n || failed.Load() > 0 })
	}
	progress()
	w.traffic("m", all(2))
	progress()
	if pending := w.pending("m"); pending == nil || !slices.Equal(pending.Answering, []modelmanager.Share{all(1)}) ||
		!strings.Contains(pending.Reason, "version 2 is waiting for a place to run; version 1 goes on answering until then") {
		t.Errorf("pending: %+v", pending)
	}
	if a := w.call("m/predict", ""); a.body != "1" {
		t.Errorf("version 2 isn't ready, and %q answers", a.body)
	}
	wanted := func() (list []int) {
		for _, load := range w.gateway.Load() {
			if load.Wanted {
				list = append(list, load.Ref.Version)
			}
		}
		slices.Sort(list)
		return list
	}
	if got := wanted(); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("versions %v are wanted while 1 answers for 2", got)
	}
	w.start("m", 2, says("2"))
	until(t, "the new version", func() bool { return w.call("m/predict", "").body == "2" })
	if pending := w.pending("m"); pending != nil {
		t.Errorf("still pending: %+v", pending)
	}
	if got := wanted(); len(got) > 0 {
		t.Errorf("versions %v are wanted while 2 answers", got)
	}
	w.traffic("m", all(1)) // back: it still runs
	if a := w.call("m/predict", ""); a.body != "1" {
		t.Errorf("after rolling back %q answers", a.body)
	}
	progress()
	close(stop)
	wait.Wait()
}

func TestReplicaEndsUnderLoad(t *testing.T) {
	w := newWorld(t, Limits{})
	w.traffic("m", all(1))
	_, _ = w.start("m", 1, says("1"))
	stop := make(chan struct{})
	var total, bad atomic.Int64
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if a := w.call("m/predict", "{}"); a.status != 200 {
					bad.Add(1)
					t.Errorf("%d %q %v", a.status, a.body, a.err)
					return
				}
				total.Add(1)
			}
		})
	}
	for range 5 { // a second replica comes, and dies by force
		r, server := w.start("m", 1, says("1"))
		n := total.Load() + 40
		until(t, "calls", func() bool { return total.Load() > n || bad.Load() > 0 })
		server.Close()
		n = total.Load() + 40
		until(t, "calls", func() bool { return total.Load() > n || bad.Load() > 0 })
		w.report(r, true)
	}
	close(stop)
	wait.Wait()
}

func TestStoppingReplicaSendsElsewhere(t *testing.T) {
	w := newWorld(t, Limits{})
	w.traffic("m", all(1))
	stopping := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		http.Error(rw, "stopping", http.StatusServiceUnavailable)
	})
	r, _ := w.start("m", 1, stopping)
	w.start("m", 1, says("other"))
	for range 20 {
		w.call("m/predict", "{}").want(t, 200, "other")
	}
	r.Stage = agent.StageStopping
	w.report(r, false)
	for range 20 {
		w.call("m/predict", "{}").want(t, 200, "other")
	}
}

func TestDeadlineReachesTheAgentAndTheCaller(t *testing.T) {
	w := newWorld(t, Limits{})
	w.traffic("m", all(1))
	var told atomic.Int64
	w.start("m", 1, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		ms, _ := strconv.Atoi(r.Header.Get(agent.HeaderTimeout))
		told.Store(int64(ms))
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done() // ends when the gateway gives up
	}))
	a := w.call("m/predict", "{}", "Prefer", "wait=1")
	a.want(t, 504, "did not answer within 1s")
	if told.Load() < 500 || told.Load() > 1000 {
		t.Errorf("the agent was told %d ms", told.Load())
	}
	if calls := w.totals("m", 1).Classes; calls != [6]int64{5: 1} {
		t.Errorf("calls by class: %v", calls)
	}
}

func TestCallerGoesAway(t *testing.T) {
	w := newWorld(t, Limits{})
	w.traffic("m", all(1))
	arrived, ended := make(chan struct{}), make(chan struct{})
	w.start("m", 1, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		close(arrived)
		<-r.Context().Done()
		close(ended)
	}))
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-arrived
		cancel()
	}()
	request, _ := http.NewRequestWithContext(ctx, "POST", w.server.URL+"/v1/models/m/predict", strings.NewReader("{}"))
	if reply, err := w.server.Client().Do(request); err == nil {
		reply.Body.Close()
		t.Error("an answer")
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the agent was left working")
	}
}

func TestShutdownFinishesWhatIsInFlight(t *testing.T) {
	w := newWorld(t, Limits{})
	w.traffic("m", all(1))
	arrived, finish := make(chan struct{}), make(chan struct{})
	w.start("m", 1, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		close(arrived)
		<-finish
		io.WriteString(rw, "done")
	}))
	result := make(chan answer, 1)
	go func() { result <- w.call("m/predict", "{}") }()
	<-arrived
	ended := make(chan error, 1)
	go func() { ended <- w.gateway.Shutdown(context.Background()) }()
	until(t, "draining", w.gateway.draining.Load)
	w.call("m/predict", "{}").want(t, 503, "shutting down")
	select {
	case <-ended:
		t.Error("Shutdown didn't wait")
	default:
	}
	close(finish)
	(<-result).want(t, 200, "done")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestShadowGetsACopy(t *testing.T) {
	w := newWorld(t, Limits{Sample: 1})
	w.start("m", 1, says(`{"version": 1, "predictions": [{"p": 0.50}]}`))
	w.start("m", 2, says(`{"version":2,"predictions":[{"p":0.5}]}`))
	w.start("m", 3, says(`{"version": 3, "predictions": [{"p": 0.7}]}`))
	w.setTraffic("m", modelmanager.Traffic{Versions: []modelmanager.Share{all(1)}, Shadow: 2})
	w.call("m/predict", "{}").want(t, 200, `"version": 1`)
	s := w.gateway.shadows
	until(t, "the shadow's answer", func() bool { return s.equal.Load() == 1 })
	w.setTraffic("m", modelmanager.Traffic{Versions: []modelmanager.Share{all(1)}, Shadow: 3})
	w.call("m/predict", "{}").want(t, 200, `"version": 1`)
	until(t, "the shadow's answer", func() bool { return s.different.Load() == 1 })
}

func TestShadowQueueIsBounded(t *testing.T) {
	w := newWorld(t, Limits{Shadow: 2})
	w.start("m", 1, says("{}"))
	block := make(chan struct{})
	w.start("m", 2, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { <-block }))
	defer close(block)
	w.setTraffic("m", modelmanager.Traffic{Versions: []modelmanager.Share{all(1)}, Shadow: 2})
	for range 20 {
		w.call("m/predict", "{}").want(t, 200, "{}")
	}
	if n := w.gateway.shadows.dropped.Load(); n < 20-2-shadowWorkers {
		t.Errorf("%d dropped", n)
	}
}

func TestLeastOutstanding(t *testing.T) {
	w := newWorld(t, Limits{})
	w.traffic("m", all(1))
	block := make(chan struct{})
	var slow, quick atomic.Int64
	w.start("m", 1, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		slow.Add(1)
		<-block
	}))
	w.start("m", 1, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { quick.Add(1) }))
	var wait sync.WaitGroup
	for slow.Load() == 0 {
		n := quick.Load()
		wait.Go(func() { w.call("m/predict", "{}") })
		until(t, "the call", func() bool { return slow.Load()+quick.Load() > n })
	}
	before := quick.Load()
	for range 20 {
		w.call("m/predict", "{}").want(t, 200, "")
	}
	if quick.Load()-before < 20 {
		t.Errorf("the busy replica was given more")
	}
	close(block)
	wait.Wait()
}

func TestSplit(t *testing.T) {
	w := newWorld(t, Limits{})
	for v := 1; v <= 2; v++ {
		w.start("m", v, says(fmt.Sprint(v)))
	}
	w.traffic("m", modelmanager.Share{Version: 1, Percent: 80}, modelmanager.Share{Version: 2, Percent: 20})
	count := map[string]int{}
	for range 500 {
		count[w.call("m/predict", "").body]++
	}
	if count["2"] < 60 || count["2"] > 150 {
		t.Errorf("%v", count)
	}
	for i := range 20 {
		key := fmt.Sprint("key-", i)
		first := w.call("m/predict", "", "Traffic-Key", key).body
		for range 3 {
			if again := w.call("m/predict", "", "Traffic-Key", key).body; again != first {
				t.Errorf("%s: %s, then %s", key, first, again)
			}
		}
	}
}
