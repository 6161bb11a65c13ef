package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// seen is one call: which version answered, how, and when it began.
type seen struct {
	version int
	status  int
	begun   time.Time
	answer  string // the body, or why there is none
}

// watchers call a model all the time, and note what becomes of it.
type watchers struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex
	calls []seen
}

func watch(t *testing.T, s *server, model, body string, every time.Duration) *watchers {
	ctx, cancel := context.WithCancel(context.Background())
	c := &watchers{cancel: cancel}
	t.Cleanup(c.stop)
	connections := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}, Timeout: 60 * time.Second}
	url := "http://" + s.address + "/v1/models/" + model + "/predict"
	c.done.Go(func() {
		defer connections.CloseIdleConnections()
		var calls sync.WaitGroup
		defer calls.Wait()
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				calls.Go(func() { c.call(connections, url, body) })
			case <-ctx.Done():
				return
			}
		}
	})
	return c
}

func (c *watchers) call(connections *http.Client, url, body string) {
	call := seen{begun: time.Now()}
	response, err := connections.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		call.answer = err.Error()
	} else {
		answer, _ := io.ReadAll(response.Body)
		response.Body.Close()
		call.status, call.answer = response.StatusCode, string(answer)
		call.version, _ = strconv.Atoi(response.Header.Get("Model-Version"))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, call)
}

func (c *watchers) stop() {
	c.cancel()
	c.done.Wait()
}

// count returns how many calls a version answered, and how many of them with
// anything but 200.
func (c *watchers) count(version int) (calls, failed int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, call := range c.calls {
		if call.version == version {
			calls++
			if call.status != http.StatusOK {
				failed++
			}
		}
	}
	return calls, failed
}

// find returns a call that is as it must not be; false if there is none.
func (c *watchers) find(wrong func(seen) bool) (seen, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	index := slices.IndexFunc(c.calls, wrong)
	if index < 0 {
		return seen{}, false
	}
	return c.calls[index], true
}

// canaryFolder is the good model with another program, that goes out in steps.
func canaryFolder(t *testing.T, program string) (dir string, change func(*spec.Spec)) {
	t.Helper()
	errors := 0.05
	return programFolder(t, program), func(s *spec.Spec) {
		s.Rollout = spec.Rollout{Strategy: "canary", Steps: []int{20, 50}, Pause: spec.Duration(3 * time.Second), BackWhen: &spec.BackWhen{Errors: &errors}}
	}
}

// programFolder is the good model with another program.
func programFolder(t *testing.T, program string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "good")
	if err := os.CopyFS(dir, os.DirFS("models/good")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "predict.py"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// awaitTraffic waits until a version alone has all of the traffic, for a
// setting that the canary's end made.
func (s *server) awaitTraffic(version int) modelmanager.Traffic {
	s.t.Helper()
	var last modelmanager.Traffic
	await(s.t, 2*time.Minute, fmt.Sprintf("version %d has all of the traffic", version), func() error {
		traffic, err := s.client.Traffic(s.t.Context(), "good")
		if err != nil {
			return fatal{err}
		}
		last = traffic.Traffic
		if len(traffic.Versions) != 1 || traffic.Versions[0].Version != version {
			return fmt.Errorf("it is %v (%s)", traffic.Versions, traffic.Reason)
		}
		return nil
	})
	return last
}

// TestCanariesUnderLoad: whatever a new version does, no call of the old one
// fails; a bad one goes back by itself, a good one arrives.
func TestCanariesUnderLoad(t *testing.T) {
	s := startServer(t)
	s.publish("models/good")
	calls := watch(t, s, "good", `{"rows": [{"x": 20}]}`, 10*time.Millisecond)
	await(t, time.Minute, "version 1 answers", func() error {
		if n, _ := calls.count(1); n == 0 {
			return errors.New("not yet")
		}
		return nil
	})

	// One that fails every call.
	dir, change := canaryFolder(t, "def predict(rows: list):\n    raise ValueError('the table of rates is missing')\n")
	if result := s.publish(dir, change); result.Version != 2 || result.Percent != 20 {
		t.Fatalf("%+v", result)
	}
	back := s.awaitTraffic(1)
	if back.By != modelmanager.ByRollout || back.Back != 1 || !strings.Contains(back.Reason, "calls failed (100%), more than the 5% of back_when.errors") {
		t.Errorf("it went back so: %+v", back)
	}
	if n, failed := calls.count(2); n < 20 || failed != n {
		t.Errorf("version 2 answered %d calls, %d of them with an error", n, failed)
	}
	t.Logf("after %v: %s", time.Since(back.At).Round(time.Millisecond), back.Reason)

	// One that can't start: nobody ever meets it.
	dir, change = canaryFolder(t, "import a_module_that_is_not_there\n\ndef predict(rows: list):\n    return rows\n")
	if result := s.publish(dir, change); result.Version != 3 || result.Percent != 20 {
		t.Fatalf("%+v", result)
	}
	dead := s.awaitTraffic(1)
	if !strings.Contains(dead.Reason, "canary of version 3 went back from 20%: it can't run") || !strings.Contains(dead.Reason, "a_module_that_is_not_there") {
		t.Errorf("it went back so: %+v", dead)
	}

	// One that is good: step by step, and then all there is.
	dir, change = canaryFolder(t, "def predict(rows: list):\n    return [{'y': 3 * row['x']} for row in rows]\n")
	if result := s.publish(dir, change); result.Version != 4 || result.Percent != 20 {
		t.Fatalf("%+v", result)
	}
	through := s.awaitTraffic(4)
	if through.By != modelmanager.ByRollout || !strings.Contains(through.Reason, "canary of version 4 is through: all calls, after") {
		t.Errorf("it arrived so: %+v", through)
	}
	history, code := s.mm("models", "traffic", "good", "--history")
	for _, says := range []string{"step 1 of 2: 20%", "step 2 of 2: 50%", "is through", "went back from 20%: it can't run", "back_when.errors"} {
		if code != 0 || !strings.Contains(history, says) {
			t.Errorf("the history doesn't say %q:\n%s", says, history)
		}
	}

	// Seen on its way, and rolled back in the middle: within a second nothing goes there any more.
	dir, change = canaryFolder(t, "def predict(rows: list):\n    return [{'y': 5 * row['x']} for row in rows]\n")
	s.publish(dir, func(s *spec.Spec) {
		change(s)
		s.Rollout.Pause = spec.Duration(time.Hour)
	})
	await(t, time.Minute, "version 5 answers", func() error {
		if n, _ := calls.count(5); n == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	if shown, code := s.mm("models", "show", "good"); code != 0 || !strings.Contains(shown, "5 at 20%, beside version 4") ||
		!strings.Contains(shown, "1 of 2: 20%, 50%, then 100%") || !strings.Contains(shown, "it can't run, or more than 5% of its calls fail") {
		t.Errorf("it is shown so: %s", shown)
	}
	if output, code := s.mm("models", "rollback", "good", "--reason", "a complaint"); code != 0 || !strings.Contains(output, "good: version 4") {
		t.Errorf("%d %s", code, output)
	}
	rolledBack := time.Now()
	if traffic := s.awaitTraffic(4); traffic.Reason != "a complaint" {
		t.Errorf("%+v", traffic)
	}
	before, _ := calls.count(4)
	await(t, time.Minute, "version 4 answers again", func() error {
		if n, _ := calls.count(4); n < before+200 {
			return errors.New("not yet")
		}
		return nil
	})

	calls.stop()
	if call, found := calls.find(func(c seen) bool { return c.status != http.StatusOK && c.version != 2 }); found {
		t.Errorf("a call of version %d failed: %d %s", call.version, call.status, call.answer)
	}
	if call, found := calls.find(func(c seen) bool { return c.version == 2 && c.begun.After(back.At.Add(time.Second)) }); found {
		t.Errorf("a call reached version 2 %v after it went back", call.begun.Sub(back.At))
	}
	if call, found := calls.find(func(c seen) bool { return c.version == 5 && c.begun.After(rolledBack.Add(time.Second)) }); found {
		t.Errorf("a call reached version 5 %v after the roll-back", call.begun.Sub(rolledBack))
	}
	if n, _ := calls.count(3); n > 0 {
		t.Errorf("%d calls met version 3, which can't start", n)
	}
}

// TestCanariesWorseThanBefore: one that is slower than the version before, and
// one that predicts outside of what it declares, go back by themselves, and say
// why; no call fails meanwhile, and nobody is given such a prediction.
func TestCanariesWorseThanBefore(t *testing.T) {
	s := startServer(t)
	maximum := 100.0
	declare := func(s *spec.Spec) { s.Predictions[0].Maximum = &maximum }
	s.publish("models/good", declare)
	// Callers who take what can be had of a request get its other rows.
	calls := watch(t, s, "good", `{"rows": [{"x": 20}, {"x": 30}], "on_error": "partial"}`, 40*time.Millisecond)
	await(t, time.Minute, "version 1 answers", func() error {
		if n, _ := calls.count(1); n == 0 {
			return errors.New("not yet")
		}
		return nil
	})

	tenth := 0.1
	for i, worse := range []struct {
		program  string
		backWhen spec.BackWhen
		because  []string
	}{{
		program: `import itertools, time

calls = itertools.count(1)

def predict(rows: list):
    if next(calls) % 8 == 0:
        time.sleep(0.4)
    return [{"y": 2 * row["x"] + 1} for row in rows]
`,
		backWhen: spec.BackWhen{P99: spec.Duration(300 * time.Millisecond)},
		because:  []string{"calls took more than 300ms", "more than the 1% of back_when.p99; of version 1 it was"},
	}, {
		program:  "def predict(rows: list):\n    return [{'y': 4 * row['x']} for row in rows]\n",
		backWhen: spec.BackWhen{OutOfRange: &tenth},
		because:  []string{"predictions broke what the model declares (50%), more than the 10% of back_when.out_of_range; of version 1 it was 0 of"},
	}} {
		version := i + 2
		result := s.publish(programFolder(t, worse.program), declare, func(s *spec.Spec) {
			s.Rollout = spec.Rollout{Strategy: "canary", Steps: []int{50}, Pause: spec.Duration(time.Minute), BackWhen: &worse.backWhen}
		})
		if result.Version != version || result.Percent != 50 {
			t.Fatalf("%+v", result)
		}
		back := s.awaitTraffic(1)
		if n, _ := calls.count(version); n < 10 || back.By != modelmanager.ByRollout || back.Back != 1 {
			t.Errorf("after %d calls of version %d it went back so: %+v", n, version, back)
		}
		shown, _ := s.mm("models", "show", "good")
		history, _ := s.mm("models", "traffic", "good", "--history")
		for _, because := range append(worse.because, fmt.Sprintf("canary of version %d went back from 50%%: ", version)) {
			if !strings.Contains(shown, because) || !strings.Contains(history, because) {
				t.Errorf("that version %d went back because %q isn't said here:\n%s\nor here:\n%s", version, because, shown, history)
			}
		}
		t.Logf("after %v: %s", back.At.Sub(result.Created).Round(time.Millisecond), back.Reason)
	}

	calls.stop()
	if call, found := calls.find(func(c seen) bool { return c.status != http.StatusOK }); found {
		t.Errorf("a call of version %d failed: %d %s", call.version, call.status, call.answer)
	}
	if call, found := calls.find(func(c seen) bool {
		return c.version == 3 && !strings.Contains(c.answer, `"predictions":[{"y":80},null]`)
	}); found {
		t.Errorf("version 3 answered %s", call.answer)
	}
}
