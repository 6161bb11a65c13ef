package fault

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/pipeline"
	"modelmanager.dev/internal/spec"
)

// bad is a bad model, and what is to be seen of it.
type bad struct {
	name   string
	health modelmanager.HealthState // once it has been called; one of two, if it has another
	also   modelmanager.HealthState
	reason string // a regular expression of the whole sentence

	rows     int // of its job
	state    modelmanager.JobState
	code     modelmanager.Code // of a failed job
	why      string            // the job's reason, a regular expression
	rejected map[int64]string  // regular expressions by row
	// answers is what x becomes; nil: any number.
	answers func(x float64) float64
}

func twice(x float64) float64 { return 2 * x }

// calls is how the sentence begins that tells of calls that failed.
const calls = `(the model is loading again: )?(its only call so far failed: |(all|\d+) of its last \d+ calls failed, most recently because )`

var badModels = []bad{
	{
		name: "crashes-at-load", health: modelmanager.Unhealthy,
		reason: `^.*ModuleNotFoundError: No module named 'a_package_of_my_laptop' \(predict\.py:1\); is it in requirements\.txt\?$`,
		rows:   20, state: modelmanager.JobFailed, code: modelmanager.CodeModelError, why: `No module named 'a_package_of_my_laptop'`,
	},
	{
		name: "crashes-on-a-row", health: modelmanager.Degraded, also: modelmanager.Unhealthy,
		reason: `the worker was killed by SIGSEGV: Fatal Python error: Segmentation fault$`,
		rows:   400, state: modelmanager.JobSucceeded, answers: twice,
		rejected: map[int64]string{14: `^the worker was killed by SIGSEGV`},
	},
	{
		name: "divides-by-zero", health: modelmanager.Degraded,
		reason: `^` + calls + `the model failed: ZeroDivisionError: .*division by zero \(predict\.py:2\)$`,
		rows:   400, state: modelmanager.JobSucceeded, answers: func(x float64) float64 { return 1 / (x - 13) },
		rejected: map[int64]string{14: `^the model failed: ZeroDivisionError: .*division by zero \(predict\.py:2\)`},
	},
	{
		name: "hangs-on-a-row", health: modelmanager.Degraded, also: modelmanager.Unhealthy,
		reason: `the worker took longer than 2s for \d+ rows? \(timeouts\.predict\)$`,
		rows:   16, state: modelmanager.JobSucceeded, answers: twice,
		rejected: map[int64]string{14: `^the worker took longer than 2s for 1 row \(timeouts\.predict\)`},
	},
	{
		name: "hangs", health: modelmanager.Degraded, also: modelmanager.Unhealthy,
		reason: `the worker took longer than 1s for \d+ rows? \(timeouts\.predict\)$`,
		rows:   3, state: modelmanager.JobFailed, code: modelmanager.CodeModelError, why: `fails on every row: the worker took longer than 1s`,
	},
	{
		name: "eats-memory", health: modelmanager.Degraded, also: modelmanager.Unhealthy,
		reason: `96Mi.*\(?resources\.memory\)?`,
		rows:   3, state: modelmanager.JobFailed, code: modelmanager.CodeModelError, why: `fails on every row: .*96Mi`,
	},
	{
		name: "floods-stdout", health: modelmanager.Healthy,
		reason: `^it prints more than 1 MiB a second, and what is beyond that is not kept$`,
		rows:   400, state: modelmanager.JobSucceeded, answers: twice,
	},
	{
		name: "loses-rows", health: modelmanager.Degraded,
		reason: `^` + calls + `.*predict returned \d+ predictions for \d+ rows?; it must return one for each`,
		rows:   20, state: modelmanager.JobFailed, code: modelmanager.CodeModelError, why: `predict returned 0 predictions for 1 row`,
	},
	{
		name: "talks-nonsense", health: modelmanager.Degraded, also: modelmanager.Unhealthy,
		reason: `the worker broke the protocol: it answered "Predicting\.\.\. done! Here you are: 42"$`,
		rows:   3, state: modelmanager.JobFailed, code: modelmanager.CodeModelError, why: `the worker broke the protocol: it answered "Predicting`,
	},
	{
		name: "answers-not-a-number", health: modelmanager.Degraded,
		reason: `^` + calls + `the model's predictions are invalid for \d+ of \d+ rows; row \d+: y: .*(NaN|not a number|finite)`,
		rows:   400, state: modelmanager.JobSucceeded, answers: twice,
		rejected: map[int64]string{14: `NaN|not a number|finite`},
	},
	{
		name: "answers-late", health: modelmanager.Degraded, also: modelmanager.Unhealthy,
		reason: `the worker took longer than 1s for \d+ rows? \(timeouts\.predict\)$`,
		rows:   3, state: modelmanager.JobFailed, code: modelmanager.CodeModelError, why: `fails on every row: the worker took longer than 1s`,
	},
	{
		name: "forks-children", health: modelmanager.Healthy,
		reason: `^[2-9] processes that it started have left its process group, and are ended with it all the same$`,
		rows:   400, state: modelmanager.JobSucceeded, answers: twice,
	},
	{
		name: "ignores-sigterm", health: modelmanager.Healthy,
		reason: `^it ignores SIGTERM, so that it is killed when it has to end$`,
		rows:   400, state: modelmanager.JobSucceeded, answers: twice,
	},
	{
		name: "ranks", health: modelmanager.Healthy, reason: `^$`,
		rows: 20, state: modelmanager.JobSucceeded,
	},
	{
		name: "loses-its-feature-store", health: modelmanager.Degraded,
		reason: `^` + calls + `the model can't answer right now: ConnectionRefusedError: .*Connection refused`,
		rows:   400, state: modelmanager.JobSucceeded, answers: func(x float64) float64 { return 10 * x },
	},
}

// storeAway is how long the feature store is away.
const storeAway = time.Minute

// TestContained runs every bad model beside a good one: the good one fails no
// call and is hardly slower, the bad ones say why they are bad, their jobs end
// as they should, and nothing of them is left when the server has stopped.
func TestContained(t *testing.T) {
	s := startServer(t, "--job-slots", "5")
	store := awayStore(t)
	s.publish("models/good")
	const every = 20 * time.Millisecond
	want := map[int]float64{1: 41}
	warm := startLoad(t, s, "good", every, want)
	warm.awaitAnswers(t, 1, 50)
	warm.noneFailed(t)
	measure := func() time.Duration {
		alone := startLoad(t, s, "good", every, want)
		alone.awaitAnswers(t, 1, 200)
		return alone.noneFailed(t)
	}
	p99Alone := measure()

	beside := startLoad(t, s, "good", every, want)
	lost := time.Now()
	for _, b := range badModels {
		s.publish(filepath.Join("models", b.name), func(s *spec.Spec) {
			if s.Env != nil {
				s.Env["FEATURE_STORE"] = store.address
			}
		})
	}
	callers := callAll(t, s)
	jobs := map[string]modelmanager.Job{}
	for _, b := range badModels {
		jobs[b.name] = s.submit(t, b.name, strings.NewReader(numbers(b.rows)), "5")
	}
	for _, b := range badModels {
		b.awaitHealth(t, s)
	}
	for _, b := range badModels {
		if b.name != "loses-its-feature-store" {
			b.checkJob(t, s, jobs[b.name].ID)
		}
	}
	await(t, 2*storeAway, "the feature store has been away long enough", func() error {
		if left := storeAway - time.Since(lost); left > 0 {
			return fmt.Errorf("%s to go", left)
		}
		return nil
	})
	if job, err := s.client.Job(t.Context(), jobs["loses-its-feature-store"].ID); err != nil || job.State.Final() || job.Rows.Rejected > 0 {
		t.Errorf("without its feature store the job is %s, %+v (%s, %v); want it running, nothing rejected", job.State, job.Rows, job.Reason, err)
	}
	callers.stop(t)
	p99Beside := beside.noneFailed(t)
	p99Alone = max(p99Alone, measure()) // whatever else the machine does meanwhile
	t.Logf("p99 of the good model: %s alone, %s beside %d bad ones (%d calls)", p99Alone, p99Beside, len(badModels), beside.answered(0))
	if bound := 5*p99Alone + 250*time.Millisecond; p99Beside > bound {
		t.Errorf("p99 of the good model is %s beside bad ones, %s alone; it may be %s", p99Beside, p99Alone, bound)
	}
	store.comeBack(t)
	for _, b := range badModels {
		if b.name == "loses-its-feature-store" {
			b.checkJob(t, s, jobs[b.name].ID)
		}
	}
}

// callers call all bad models, again and again, until stopped.
type callers struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	calls  map[string]*atomic.Int64
}

// expected are the codes with which a call of a bad model may end.
var expected = []modelmanager.Code{
	"", modelmanager.CodeModelError, modelmanager.CodeInvalidPredictions, modelmanager.CodeDeadlineExceeded,
	modelmanager.CodeUnavailable, modelmanager.CodeTooManyRequests, modelmanager.CodeCancelled,
}

func callAll(t *testing.T, s *server) *callers {
	ctx, cancel := context.WithCancel(t.Context())
	c := &callers{cancel: cancel, calls: map[string]*atomic.Int64{}}
	for _, b := range badModels {
		count := new(atomic.Int64)
		c.calls[b.name] = count
		for _, x := range []string{`{"x": 1}`, `{"x": 13}`} {
			c.done.Go(func() {
				// A careless client too: it calls again at once, but for a moment.
				ticker := time.NewTicker(500 * time.Millisecond)
				defer ticker.Stop()
				for {
					_, err := s.client.Predict(ctx, b.name, 0, modelmanager.PredictRequest{Rows: rows(x)})
					if ctx.Err() != nil {
						return
					}
					count.Add(1)
					if code := modelmanager.CodeOf(err); !slices.Contains(expected, code) {
						t.Errorf("calling %s: %s: %v", b.name, code, err)
					}
					select {
					case <-ticker.C:
					case <-ctx.Done():
						return
					}
				}
			})
		}
	}
	return c
}

func (c *callers) stop(t *testing.T) {
	t.Helper()
	c.cancel()
	c.done.Wait()
	for name, count := range c.calls {
		if count.Load() < 2 {
			t.Errorf("%s was called %d times only", name, count.Load())
		}
	}
}

// awaitHealth waits until the API and the command line show what is wrong.
func (b bad) awaitHealth(t *testing.T, s *server) {
	t.Helper()
	reason := regexp.MustCompile(b.reason)
	var health modelmanager.Health
	await(t, 60*time.Second, b.name+" shows what is wrong with it", func() error {
		info, err := s.client.Model(t.Context(), b.name)
		if err != nil {
			return err
		}
		health = info.Health
		if health.State != b.health && health.State != b.also || !reason.MatchString(health.Reason) {
			return fmt.Errorf("it is %s: %q, want %s: %s", health.State, health.Reason, b.health, b.reason)
		}
		return nil
	})
	t.Logf("%s is %s: %s", b.name, health.State, health.Reason)
	if strings.Contains(health.Reason, "\n") || len(health.Reason) > 700 {
		t.Errorf("%s says more than one sentence: %q", b.name, health.Reason)
	}
	await(t, 60*time.Second, "mm models show "+b.name, func() error {
		text, code := s.mm("models", "show", b.name)
		for line := range strings.Lines(text) {
			if rest, found := strings.CutPrefix(line, "health"); found && code == 0 && shows(strings.TrimSpace(rest), b) {
				return nil
			}
		}
		return fmt.Errorf("exit code %d: %s", code, text)
	})
}

// shows tells whether a line has a model's state, and the reason if it has one.
func shows(line string, b bad) bool {
	state, rest, _ := strings.Cut(line, " ")
	state = strings.TrimRight(state, ":,")
	if state != string(b.health) && state != string(b.also) {
		return false
	}
	if b.reason == "^$" {
		return rest == ""
	}
	// The command line may put marks around the sentence.
	return regexp.MustCompile(strings.Trim(b.reason, "^$")).MatchString(rest)
}

// checkJob waits for a bad model's job, and checks how it ended.
func (b bad) checkJob(t *testing.T, s *server, id string) {
	t.Helper()
	job := s.finished(t, id, 120*time.Second)
	t.Logf("the job of %s %s: %+v %s", b.name, job.State, job.Rows, job.Reason)
	if job.State != b.state || job.Code != b.code || !regexp.MustCompile(b.why).MatchString(job.Reason) {
		t.Errorf("the job of %s is %s, %s: %q; want %s, %s: %s", b.name, job.State, job.Code, job.Reason, b.state, b.code, b.why)
		return
	}
	if job.State != modelmanager.JobSucceeded {
		if job.Rows.Rejected > 0 {
			t.Errorf("the job of %s failed, and rejected %d rows", b.name, job.Rows.Rejected)
		}
		return
	}
	if job.Rows.Read != int64(b.rows) || job.Rows.Rejected != int64(len(b.rejected)) || job.Rows.Predicted != int64(b.rows-len(b.rejected)) {
		t.Errorf("the job of %s counts %+v, of %d rows", b.name, job.Rows, b.rows)
	}
	reasons := s.rejected(t, id)
	for row, pattern := range b.rejected {
		if !regexp.MustCompile(pattern).MatchString(reasons[row]) {
			t.Errorf("%s rejected %v; want row %d: %s", b.name, reasons, row, pattern)
		}
	}
	xs, ys := s.output(t, id)
	if len(xs) != b.rows-len(b.rejected) || !slices.IsSorted(xs) {
		t.Errorf("the output of %s has %d rows, in order: %t", b.name, len(xs), slices.IsSorted(xs))
	}
	for x, y := range ys {
		if b.answers != nil && math.Abs(y-b.answers(float64(x))) > 1e-12 {
			t.Errorf("%s answers %v for %d", b.name, y, x)
		}
	}
}

// featureStore is an address at which a feature store listens, later.
type featureStore struct{ address string }

// awayStore finds an address at which nobody listens.
func awayStore(t *testing.T) *featureStore {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return &featureStore{listener.Addr().String()}
}

// comeBack makes the store answer until the test ends.
func (f *featureStore) comeBack(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				fmt.Fprintln(connection, 10)
				connection.Close()
			}
		}
	}()
}

// TestRanksIsRefused checks that what looks across rows doesn't pass validation.
func TestRanksIsRefused(t *testing.T) {
	folder, err := spec.LoadFolder("models/ranks")
	if err != nil {
		t.Fatal(err)
	}
	options := pipeline.Options{Scratch: t.TempDir()}
	prepared, err := pipeline.Prepare(t.Context(), folder, options)
	if err != nil {
		t.Fatal(err)
	}
	defer prepared.Close()
	validator := &pipeline.Validator{Environments: &environment.Manager{Dir: t.TempDir()}, Scratch: t.TempDir()}
	if _, err = validator.Validate(t.Context(), prepared, options); modelmanager.CodeOf(err) != modelmanager.CodeRowDependent {
		t.Errorf("validating ranks: %v, want %s", err, modelmanager.CodeRowDependent)
	}
	command := &server{t: t, data: t.TempDir(), address: "127.0.0.1:1"}
	text, code := command.mm("validate", "models/ranks")
	if code == 0 || !strings.Contains(text, "rows: dependent") {
		t.Errorf("mm validate ends with %d: %s", code, text)
	}
	if text, code := command.mm("validate", "--offline", "models/good"); code != 0 {
		t.Errorf("mm validate refuses the good model: %s", text)
	}
	if entries, err := os.ReadDir("models"); err != nil || len(entries) != len(badModels)+1 {
		t.Errorf("there are %d models, and %d are tested (%v)", len(entries), len(badModels)+1, err)
	}
}
