package gateway

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/platform"
)

func splitOf(percents ...int) []weight {
	var split []weight
	for i, percent := range percents {
		if percent > 0 {
			split = append(split, weight{newVersion(platform.Ref{Model: "m", Version: i + 1}, nil), percent})
		}
	}
	return split
}

const keys = 20_000

func assign(split []weight) []int {
	list := make([]int, keys)
	for i := range list {
		list[i] = stick(split, "m", fmt.Sprint("customer-", i)).ref.Version
	}
	return list
}

func TestStickFollowsPercentages(t *testing.T) {
	for _, percents := range [][]int{{90, 10}, {50, 50}, {1, 99}, {60, 30, 10}, {100}} {
		count := map[int]int{}
		for _, v := range assign(splitOf(percents...)) {
			count[v]++
		}
		for i, percent := range percents {
			p := float64(percent) / 100
			tolerance := 4*math.Sqrt(keys*p*(1-p)) + 1
			if got := float64(count[i+1]); math.Abs(got-keys*p) > tolerance {
				t.Errorf("%v: version %d has %.0f of %d keys", percents, i+1, got, keys)
			}
		}
	}
}

// moved counts the keys that another version answers, by the version they left.
func moved(before, after []int) (n int, from map[int]int) {
	from = map[int]int{}
	for i := range before {
		if before[i] != after[i] {
			n++
			from[before[i]]++
		}
	}
	return n, from
}

func TestStickMovesNoMoreThanItMust(t *testing.T) {
	before := assign(splitOf(90, 10))
	n, from := moved(before, assign(splitOf(80, 20)))
	if share := float64(n) / keys; share < 0.09 || share > 0.11 || from[2] > 0 {
		t.Errorf("90:10 to 80:20 moves %.3f of the keys, from %v", share, from)
	}
	n, _ = moved(before, assign(splitOf(80, 10, 10)))
	if share := float64(n) / keys; share > 0.13 {
		t.Errorf("a third version moves %.3f of the keys", share)
	}
	if n, _ = moved(before, assign(splitOf(90, 10))); n != 0 {
		t.Errorf("%d keys moved by nothing", n)
	}
}

// Servers of different releases must agree: these numbers never change.
func TestPointsAreFixed(t *testing.T) {
	got := []uint64{pointOf("m", "customer-1", 1), pointOf("m", "customer-1", 2), pointOf("m", "customer-2", 1), pointOf("m", "", 1)}
	want := []uint64{0x79fd551285fca192, 0x6ac88c2198d7afed, 0x3c6f95df30d3d88f, 0x6f0e757b8b7bad91}
	if !slices.Equal(got, want) {
		t.Errorf("%#x", got)
	}
}

func TestDraw(t *testing.T) {
	count := map[int]int{}
	split := splitOf(70, 30)
	for range keys {
		count[draw(split).ref.Version]++
	}
	if share := float64(count[2]) / keys; share < 0.28 || share > 0.32 {
		t.Errorf("%v", count)
	}
}

func TestInForce(t *testing.T) {
	now := time.Now()
	setting := func(age time.Duration, shares ...int) modelmanager.Traffic {
		t := modelmanager.Traffic{At: now.Add(-age)}
		for i := 0; i < len(shares); i += 2 {
			t.Versions = append(t.Versions, modelmanager.Share{Version: shares[i], Percent: shares[i+1]})
		}
		return t
	}
	one := setting(time.Hour, 1, 100)
	for name, c := range map[string]struct {
		history       []modelmanager.Traffic
		before        *modelmanager.Traffic
		ready, failed []int
		want          int
		held          bool
	}{
		"ready":                           {history: []modelmanager.Traffic{setting(0, 2, 100)}, before: &one, ready: []int{1, 2}, want: 2},
		"starting":                        {history: []modelmanager.Traffic{setting(0, 2, 100)}, before: &one, ready: []int{1}, want: 1, held: true},
		"failed":                          {history: []modelmanager.Traffic{setting(0, 2, 100)}, before: &one, ready: []int{1}, failed: []int{2}, want: 1, held: true},
		"both cold":                       {history: []modelmanager.Traffic{setting(0, 2, 100)}, before: &one, want: 2},
		"canary is cold":                  {history: []modelmanager.Traffic{setting(0, 1, 90, 2, 10)}, before: &one, ready: []int{1}, want: 1, held: true},
		"canary has no share":             {history: []modelmanager.Traffic{setting(0, 1, 100, 2, 0)}, before: &one, want: 1},
		"no traffic any more":             {history: []modelmanager.Traffic{setting(0)}, before: &one, ready: []int{1}, want: 0},
		"idle, while an old one runs":     {history: []modelmanager.Traffic{setting(time.Hour, 2, 100), one}, before: new(setting(time.Hour, 2, 100)), ready: []int{1}, want: 2},
		"met while starting":              {history: []modelmanager.Traffic{setting(time.Minute, 2, 100), one}, ready: []int{1}, want: 1, held: true},
		"met long after":                  {history: []modelmanager.Traffic{setting(time.Hour, 2, 100), one}, ready: []int{1}, want: 2},
		"met long after, failed":          {history: []modelmanager.Traffic{setting(time.Hour, 2, 100), one}, ready: []int{1}, failed: []int{2}, want: 1, held: true},
		"met, the one between failed too": {history: []modelmanager.Traffic{setting(0, 3, 100), setting(time.Minute, 2, 100), one}, ready: []int{1}, want: 1, held: true},
		"met cold":                        {history: []modelmanager.Traffic{setting(0, 2, 100), one}, want: 2},
	} {
		got, held := inForce(c.history, c.before, now, readiness{
			ready:  func(n int) bool { return slices.Contains(c.ready, n) },
			failed: func(n int) bool { return slices.Contains(c.failed, n) },
		})
		if got.Largest() != c.want || held != c.held {
			t.Errorf("%s: version %d, held %v", name, got.Largest(), held)
		}
	}
}

func TestPrefer(t *testing.T) {
	limits := Limits{}.withDefaults()
	for header, want := range map[string]time.Duration{
		"": 30 * time.Second, "wait=5": 5 * time.Second, "respond-async, Wait = 7": 7 * time.Second, `wait="9"; x=y`: 9 * time.Second,
		"wait=0": time.Second, "wait=-1": 30 * time.Second, "wait=x": 30 * time.Second, "wait=99999999999": 5 * time.Minute, "wait": 30 * time.Second,
		"wait=99999999999999999999999": 30 * time.Second, "waiting=4": 30 * time.Second,
	} {
		c := &call{g: &Gateway{limits: limits}, started: time.Now()}
		if got := c.waitOf([]string{header}); got != want {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
}
