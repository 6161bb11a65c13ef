package rollout

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"modelmanager.dev"
	"modelmanager.dev/internal/activity"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/spec"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// counts makes what was counted of calls that took so long.
func counts(calls, errors int, took time.Duration) activity.Counts {
	recorder := activity.NewRecorder()
	counter := recorder.Counter(platform.Ref{Model: "m", Version: 1})
	for i := range calls {
		call := activity.Call{Took: took, Status: 200, Predictions: 1}
		if i < errors {
			call.Status, call.Predictions = 502, 0
		}
		counter.Record(noon, call)
	}
	return recorder.Counts(platform.Ref{Model: "m", Version: 1}, noon.Add(-time.Minute))
}

func invalid(predictions, bad int) activity.Counts {
	return activity.Counts{Calls: int64(predictions), Predictions: int64(predictions), Invalid: int64(bad)}
}

func ptr(f float64) *float64 { return &f }

// canaryOf is a state at a step that began at noon, whose version runs.
func canaryOf(percent int, when *spec.BackWhen) State {
	return State{
		Setting: modelmanager.Traffic{
			Versions: []modelmanager.Share{{Version: 7, Percent: 100 - percent}, {Version: 8, Percent: percent}},
			Shadow:   3, By: modelmanager.ByRollout, At: noon,
		},
		Rollout:  spec.Rollout{Strategy: "canary", Steps: []int{5, 25, 50}, Pause: spec.Duration(10 * time.Minute), BackWhen: when},
		Complete: true, Started: noon.Add(-time.Hour), Before: counts(1000, 1, 10*time.Millisecond),
	}
}

func TestDecisions(t *testing.T) {
	all := &spec.BackWhen{Errors: ptr(0.02), P99: spec.Duration(200 * time.Millisecond), OutOfRange: ptr(0.01)}
	for name, c := range map[string]struct {
		percent int
		when    *spec.BackWhen
		after   time.Duration
		change  func(*State)
		want    Action
		traffic string
		says    []string
	}{
		"good, in its pause":        {5, all, 9 * time.Minute, func(s *State) { s.New = counts(500, 0, 0) }, Wait, "", []string{"500 calls at 5%", "0 failed"}},
		"good, after it":            {5, all, 10 * time.Minute, func(s *State) { s.New = counts(500, 0, 0) }, Next, "7=75 8=25 shadow 3", []string{"step 2 of 3: 25%", "500 calls at 5%"}},
		"good, at the second":       {25, all, 10 * time.Minute, func(s *State) { s.New = counts(500, 1, 0) }, Next, "7=50 8=50 shadow 3", []string{"step 3 of 3: 50%", "1 failed"}},
		"good, at the last":         {50, all, 10 * time.Minute, func(s *State) { s.New = counts(500, 0, 0) }, Next, "8=100 shadow 3", []string{"is through", "500 calls at 50%"}},
		"it fails":                  {5, all, time.Minute, func(s *State) { s.New = counts(100, 9, 0) }, Back, "", []string{"9 of 100 calls failed (9%)", "2% of back_when.errors", "version 7", "1 of 1,000 (0.1%)"}},
		"it fails, at the last":     {50, all, time.Second, func(s *State) { s.New = counts(100, 9, 0) }, Back, "", []string{"from 50%"}},
		"one of two fails":          {5, all, time.Minute, func(s *State) { s.New = counts(2, 1, 0) }, Wait, "", nil},
		"one of two, after it":      {5, all, 11 * time.Minute, func(s *State) { s.New = counts(2, 1, 0) }, Wait, "", []string{"1 of 2 calls failed (50%)", "at the latest at 12:30:00"}},
		"one of two, to the end":    {5, all, 30 * time.Minute, func(s *State) { s.New = counts(2, 1, 0) }, Back, "", []string{"1 of 2 calls failed", "after 30m0s"}},
		"two of thirty fail":        {5, all, time.Minute, func(s *State) { s.New = counts(30, 2, 0) }, Wait, "", nil},
		"as many as may":            {5, all, 10 * time.Minute, func(s *State) { s.New = counts(500, 10, 0) }, Next, "7=75 8=25 shadow 3", nil},
		"nothing may fail":          {5, &spec.BackWhen{Errors: ptr(0)}, time.Second, func(s *State) { s.New = counts(1, 1, 0) }, Back, "", []string{"1 of 1 calls failed (100%)", "0%"}},
		"without back_when":         {5, nil, time.Second, func(s *State) { s.New = counts(100, 6, 0) }, Back, "", []string{"more than the 5% of back_when.errors"}},
		"back_when: {}":             {5, &spec.BackWhen{}, 10 * time.Minute, func(s *State) { s.New = counts(100, 100, 0) }, Next, "7=75 8=25 shadow 3", nil},
		"it is slow":                {5, all, time.Minute, func(s *State) { s.New = counts(100, 0, 400*time.Millisecond) }, Back, "", []string{"100 of 100 calls took more than 200ms", "back_when.p99", "of version 7 it was 0 of 1,000"}},
		"so is the other":           {5, all, time.Minute, func(s *State) { s.New = counts(100, 0, 400*time.Millisecond); s.Before = s.New }, Wait, "", nil},
		"so is the other, after it": {5, all, 11 * time.Minute, func(s *State) { s.New = counts(100, 0, 400*time.Millisecond); s.Before = s.New }, Wait, "", []string{"doesn't go on like this"}},
		"so is the other, too long": {5, all, 31 * time.Minute, func(s *State) { s.New = counts(100, 0, 400*time.Millisecond); s.Before = s.New }, Back, "", []string{"still so after 31m0s"}},
		"nobody calls the other":    {5, all, time.Minute, func(s *State) { s.New = counts(100, 0, 400*time.Millisecond); s.Before = counts(5, 0, time.Second) }, Back, "", nil},
		"a little slow":             {5, all, 10 * time.Minute, func(s *State) { s.New = counts(100, 0, 150*time.Millisecond) }, Next, "7=75 8=25 shadow 3", []string{"p99 "}},
		"it talks nonsense":         {5, all, time.Minute, func(s *State) { s.New = invalid(1000, 11) }, Back, "", []string{"11 of 1,000 predictions broke what the model declares (1.1%)", "back_when.out_of_range"}},
		"some nonsense":             {5, all, 10 * time.Minute, func(s *State) { s.New = invalid(1000, 10) }, Next, "7=75 8=25 shadow 3", []string{"10 of 1,000 predictions"}},
		"few calls":                 {5, all, 10 * time.Minute, func(s *State) { s.New = counts(19, 0, 0) }, Wait, "", []string{"19 calls", "20 are wanted until 12:30:00"}},
		"few calls, to the end":     {5, all, 30 * time.Minute, func(s *State) { s.New = counts(1, 0, 0) }, Next, "7=75 8=25 shadow 3", []string{"1 call at 5%"}},
		"no calls":                  {5, all, 29 * time.Minute, func(*State) {}, Wait, "", []string{"no calls at 5%"}},
		"no calls, to the end":      {5, all, 30 * time.Minute, func(*State) {}, Next, "7=75 8=25 shadow 3", []string{"no calls at 5%"}},
		"it ran late":               {5, all, 12 * time.Minute, func(s *State) { s.New, s.Started = counts(500, 0, 0), noon.Add(3*time.Minute) }, Wait, "", nil},
		"a server is silent":        {5, all, time.Hour, func(s *State) { s.New, s.Complete = counts(500, 0, 0), false }, Wait, "", []string{"not all servers"}},
		"silent, and it fails":      {5, all, time.Minute, func(s *State) { s.New, s.Complete = counts(500, 50, 0), false }, Back, "", nil},
		"it starts": {5, all, 20 * time.Minute, func(s *State) {
			s.Started, s.Awaited, s.Starting = time.Time{}, 14*time.Minute, "fetching its image"
		}, Wait, "", []string{"version 8 doesn't run yet: fetching its image"}},
		"it doesn't start":       {5, all, 20 * time.Minute, func(s *State) { s.Started, s.Awaited, s.Starting = time.Time{}, 15*time.Minute, "no node" }, Back, "", []string{"15m0s: no node"}},
		"it loads for long":      {5, all, 20 * time.Minute, func(s *State) { s.Started, s.Awaited, s.Allowed = time.Time{}, 15*time.Minute, time.Minute }, Wait, "", nil},
		"it can't start":         {5, all, 16 * time.Second, func(s *State) { s.Started, s.Failing, s.Failure = time.Time{}, failingFor, "no such module" }, Back, "", []string{"it can't run: no such module"}},
		"it failed a moment ago": {5, all, 16 * time.Second, func(s *State) { s.Started, s.Failing, s.Failure = time.Time{}, failingFor-1, "no such module" }, Wait, "", nil},
		"somebody's setting":     {5, all, time.Hour, func(s *State) { s.New, s.Setting.By = counts(500, 500, 0), "ana" }, Wait, "", nil},
		"what was gone back to":  {5, all, time.Hour, func(s *State) { s.New, s.Setting.Back = counts(500, 500, 0), 1 }, Wait, "", nil},
		"no step of its spec":    {6, all, time.Hour, func(s *State) { s.New = counts(500, 500, 0) }, Wait, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := canaryOf(c.percent, c.when)
			c.change(&s)
			d := Decide(noon.Add(c.after), s)
			if d.Action != c.want || text(d.Traffic) != c.traffic {
				t.Fatalf("%s %q, because %s", d.Action, text(d.Traffic), d.Reason)
			}
			for _, part := range c.says {
				if !strings.Contains(d.Reason, part) {
					t.Errorf("%q doesn't say %q", d.Reason, part)
				}
			}
			if d.Action != Wait && !strings.Contains(d.Reason, "canary of version 8") || d.Reason == "" {
				t.Errorf("%q doesn't say what it is of", d.Reason)
			}
		})
	}
}

func text(t modelmanager.Traffic) string {
	var parts []string
	for _, share := range t.Versions {
		parts = append(parts, number(int64(share.Version))+"="+number(int64(share.Percent)))
	}
	if t.Shadow != 0 {
		parts = append(parts, "shadow "+number(int64(t.Shadow)))
	}
	return strings.Join(parts, " ")
}

func TestFirstSteps(t *testing.T) {
	canary := spec.Rollout{Strategy: "canary", Steps: []int{5, 50, 100}}
	under := canaryOf(50, nil).Setting
	for name, c := range map[string]struct {
		current modelmanager.Traffic
		version int
		rollout spec.Rollout
		want    string
	}{
		"beside one":          {modelmanager.All(7), 8, canary, "7=95 8=5"},
		"an older one":        {modelmanager.All(7), 2, canary, "7=95 2=5"},
		"its own shadow":      {modelmanager.Traffic{Versions: modelmanager.All(7).Versions, Shadow: 8}, 8, canary, "7=95 8=5"},
		"another's shadow":    {modelmanager.Traffic{Versions: modelmanager.All(7).Versions, Shadow: 6}, 8, canary, "7=95 8=5 shadow 6"},
		"during another":      {under, 9, canary, "7=95 9=5 shadow 3"},
		"back to the base":    {under, 7, canary, ""},
		"nothing to split":    {modelmanager.Traffic{}, 8, canary, ""},
		"all at once":         {modelmanager.All(7), 8, spec.Rollout{Strategy: "canary", Steps: []int{100}}, ""},
		"no steps":            {modelmanager.All(7), 8, spec.Rollout{Strategy: "canary"}, ""},
		"the same":            {modelmanager.All(8), 8, canary, ""},
		"of somebody's split": {modelmanager.Traffic{Versions: []modelmanager.Share{{Version: 6, Percent: 40}, {Version: 7, Percent: 60}}}, 8, canary, "7=95 8=5"},
	} {
		step, reason, ok := First(c.current, c.version, c.rollout, "ana: a better one")
		if text(step) != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q %t", name, text(step), ok)
		}
		if ok && (!strings.Contains(reason, "step 1 of 2: 5% (ana: a better one)") || !strings.Contains(reason, "canary of version")) {
			t.Errorf("%s: %q", name, reason)
		}
	}
}

// TestWhateverIsSeen: the properties that no state may break.
func TestWhateverIsSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := rapid.SliceOfNDistinct(rapid.IntRange(1, 100), 1, 20, rapid.ID[int]).Draw(t, "steps")
		slices.Sort(steps)
		below := stepsOf(spec.Rollout{Steps: steps})
		if len(below) == 0 {
			return
		}
		share := rapid.Custom(func(t *rapid.T) *float64 {
			if rapid.Bool().Draw(t, "set") {
				return ptr(rapid.SampledFrom([]float64{0, 0.01, 0.05, 0.5, 1}).Draw(t, "share"))
			}
			return nil
		})
		seen := rapid.Custom(func(t *rapid.T) activity.Counts {
			calls := rapid.IntRange(0, 200).Draw(t, "calls")
			c := counts(calls, rapid.IntRange(0, calls).Draw(t, "errors"), time.Duration(rapid.IntRange(1, 500).Draw(t, "ms"))*time.Millisecond)
			c.Predictions = int64(rapid.IntRange(0, 500).Draw(t, "predictions"))
			c.Invalid = int64(rapid.IntRange(0, int(c.Predictions)).Draw(t, "invalid"))
			return c
		})
		percent := rapid.SampledFrom(below).Draw(t, "percent")
		s := State{
			Setting: setting(modelmanager.Traffic{Shadow: rapid.IntRange(0, 2).Draw(t, "shadow")}, 7, 8, percent),
			Rollout: spec.Rollout{
				Steps: steps, Pause: spec.Duration(rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute, time.Hour}).Draw(t, "pause")),
				BackWhen: rapid.SampledFrom([]*spec.BackWhen{nil, {
					Errors: share.Draw(t, "errors"), OutOfRange: share.Draw(t, "range"),
					P99: spec.Duration(time.Duration(rapid.IntRange(0, 300).Draw(t, "p99")) * time.Millisecond),
				}}).Draw(t, "when"),
			},
			New: seen.Draw(t, "new"), Before: seen.Draw(t, "before"), Complete: rapid.Bool().Draw(t, "complete"),
			Awaited: rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(t, "awaited"),
			Failing: rapid.SampledFrom([]time.Duration{0, time.Second, time.Hour}).Draw(t, "failing"),
		}
		s.Setting.By, s.Setting.At = modelmanager.ByRollout, noon
		if rapid.Bool().Draw(t, "started") {
			s.Started = noon.Add(time.Duration(rapid.IntRange(-100, 100).Draw(t, "when")) * time.Second)
		}
		now := noon.Add(time.Duration(rapid.IntRange(0, 20_000).Draw(t, "now")) * time.Second)
		d := Decide(now, s)
		if d.Reason == "" {
			t.Fatal("it doesn't say why")
		}
		conditions := conditionsOf(s, 7)
		for _, c := range conditions {
			if c.holds() && d.Action != Back {
				t.Fatalf("%s though %s", d.Action, c.passed())
			}
			if c.exceeded() && d.Action == Next {
				t.Fatalf("it goes on though %s", c.passed())
			}
		}
		if s.Failing >= failingFor && d.Action != Back || s.Started.IsZero() && d.Action == Next {
			t.Fatalf("%s of a version that doesn't run: %s", d.Action, d.Reason)
		}
		if d.Action != Next {
			if len(d.Traffic.Versions) > 0 {
				t.Fatalf("%s with traffic %v", d.Action, d.Traffic)
			}
			return
		}
		if !s.Complete || now.Before(noon.Add(time.Duration(s.Rollout.Pause))) || now.Before(s.Started.Add(time.Duration(s.Rollout.Pause))) {
			t.Fatalf("it goes on too soon: %s", d.Reason)
		}
		sum, last := 0, d.Traffic.Versions[len(d.Traffic.Versions)-1]
		for _, share := range d.Traffic.Versions {
			sum += share.Percent
		}
		if sum != 100 || last.Version != 8 || last.Percent <= percent || last.Percent < 100 && !slices.Contains(steps, last.Percent) || d.Traffic.Shadow != s.Setting.Shadow {
			t.Fatalf("from %d%% to %v", percent, d.Traffic)
		}
	})
}

func TestWords(t *testing.T) {
	for share, want := range map[float64]string{0: "0%", 0.05: "5%", 0.0015: "0.15%", 0.123: "12%", 1: "100%", 0.09: "9%", 0.00001: "0.001%", 0.0999: "10%"} {
		if got := percent(share); got != want {
			t.Errorf("%v is written %q, not %q", share, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := number(n); got != want {
			t.Errorf("%d is written %q", n, got)
		}
	}
}
