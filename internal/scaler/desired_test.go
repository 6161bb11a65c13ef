package scaler

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"modelmanager.dev/internal/spec"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func scale(minimum, maximum, concurrency int) spec.Scale {
	return spec.Scale{Min: minimum, Max: maximum, Concurrency: concurrency, Idle: spec.Duration(10 * time.Minute)}
}

func TestDesired(t *testing.T) {
	for name, c := range map[string]struct {
		o    Observation
		want int
	}{
		"nothing":                   {Observation{Scale: scale(0, 10, 8)}, 0},
		"idle for less than idle":   {Observation{Scale: scale(0, 10, 8), Current: 3, LastUse: noon.Add(-9 * time.Minute)}, 1},
		"idle for idle":             {Observation{Scale: scale(0, 10, 8), Current: 3, LastUse: noon.Add(-10 * time.Minute)}, 0},
		"idle, but not known to be": {Observation{Scale: scale(0, 10, 8), Current: 1, LastUse: noon.Add(-time.Hour), Unknown: true}, 1},
		"idle with a minimum":       {Observation{Scale: scale(2, 10, 8), Live: true, Current: 2, LastUse: noon.Add(-time.Hour)}, 2},
		"past":                      {Observation{Scale: scale(2, 10, 8), Past: true, Current: 3, Stable: 4, Panic: 2, LastUse: noon}, 0},
		"past, not known idle":      {Observation{Scale: scale(0, 10, 8), Past: true, Current: 1, LastUse: noon.Add(-time.Hour), Unknown: true}, 1},
		"minimum without traffic":   {Observation{Scale: scale(2, 10, 8), Current: 2, LastUse: noon.Add(-time.Hour)}, 0},
		"a minimum starts":          {Observation{Scale: scale(2, 10, 8), Live: true}, 2},
		"somebody waits":            {Observation{Scale: scale(0, 10, 8), Load: 1}, 1},
		"steady":                    {Observation{Scale: scale(0, 10, 8), Current: 2, Load: 17, Stable: 17, Panic: 17}, 3},
		"just below a border":       {Observation{Scale: scale(0, 10, 8), Current: 3, Load: 15, Stable: 15, Panic: 15}, 3},
		"well below a border":       {Observation{Scale: scale(0, 10, 8), Current: 3, Load: 12, Stable: 12, Panic: 12}, 2},
		"soaring":                   {Observation{Scale: scale(0, 10, 8), Current: 1, Load: 60, Stable: 6, Panic: 60}, 8},
		"a small peak":              {Observation{Scale: scale(0, 10, 8), Current: 1, Load: 12, Stable: 6, Panic: 12}, 1},
		"after soaring":             {Observation{Scale: scale(0, 10, 8), Current: 8, Load: 1, Stable: 6, Panic: 1, Panicked: noon.Add(-50 * time.Second)}, 8},
		"long after soaring":        {Observation{Scale: scale(0, 10, 8), Current: 8, Load: 1, Stable: 6, Panic: 1, Panicked: noon.Add(-70 * time.Second)}, 1},
		"at most the maximum":       {Observation{Scale: scale(0, 3, 8), Current: 3, Load: 1000, Stable: 1000, Panic: 1000}, 3},
	} {
		if got := Desired(noon, c.o); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func anyObservation(t *rapid.T) Observation {
	maximum := rapid.IntRange(1, 20).Draw(t, "max")
	o := Observation{
		Scale:   scale(rapid.IntRange(0, maximum).Draw(t, "min"), maximum, rapid.IntRange(1, 50).Draw(t, "concurrency")),
		Live:    rapid.Bool().Draw(t, "live"),
		Current: rapid.IntRange(0, maximum).Draw(t, "current"),
		Load:    rapid.IntRange(0, 500).Draw(t, "load"),
		Stable:  rapid.Float64Range(0, 500).Draw(t, "stable"),
		Panic:   rapid.Float64Range(0, 500).Draw(t, "panic"),
		LastUse: noon.Add(-time.Duration(rapid.IntRange(0, 1200).Draw(t, "idle for")) * time.Second),
		Unknown: rapid.Bool().Draw(t, "unknown"),
	}
	o.Past = !o.Live && rapid.Bool().Draw(t, "past")
	if rapid.Bool().Draw(t, "has panicked") {
		o.Panicked = noon.Add(-time.Duration(rapid.IntRange(0, 120).Draw(t, "panicked")) * time.Second)
	}
	return o
}

func TestDesiredStaysInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := anyObservation(t)
		n := Desired(noon, o)
		if n < 0 || n > o.Scale.Max || o.Live && n < o.Scale.Min {
			t.Fatalf("%d", n)
		}
		if o.Past && o.Load == 0 && !o.Unknown && n > 0 {
			t.Fatalf("%d of a retired model", n)
		}
		if o.Load > 0 && n == 0 {
			t.Fatal("none, and a request is there")
		}
		if n == 0 && o.Current > 0 && (o.Unknown || !o.Past && noon.Sub(o.LastUse) < time.Duration(o.Scale.Idle)) {
			t.Fatal("none before the version has been idle, everywhere")
		}
	})
}

func TestDesiredGrowsWithLoad(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		less := anyObservation(t)
		more := less
		more.Load += rapid.IntRange(0, 300).Draw(t, "more load")
		more.Stable += rapid.Float64Range(0, 300).Draw(t, "more stable")
		more.Panic += rapid.Float64Range(0, 300).Draw(t, "more panic")
		if a, b := Desired(noon, less), Desired(noon, more); a > b {
			t.Fatalf("%d for less, %d for more", a, b)
		}
	})
}

// Under a load that stays, the number settles at once where it should and
// moves no more, whatever it was.
func TestDesiredConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := anyObservation(t)
		o.Panicked, o.Unknown = time.Time{}, false
		o.Load = rapid.IntRange(1, 300).Draw(t, "steady")
		o.Stable, o.Panic = float64(o.Load), float64(o.Load)
		first := Desired(noon, o)
		enough := (o.Load + o.Scale.Concurrency - 1) / o.Scale.Concurrency
		if first < min(enough, o.Scale.Max) {
			t.Fatalf("%d replicas for %d requests", first, o.Load)
		}
		for range 5 {
			o.Current = first
			if next := Desired(noon, o); next != first {
				t.Fatalf("%d, then %d", first, next)
			}
		}
	})
}

// A load that swings a little around a border doesn't make replicas come and go.
func TestDesiredDoesNotFlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Observation{Scale: scale(0, 20, 10)}
		border := float64(10 * rapid.IntRange(1, 19).Draw(t, "border"))
		changes := 0
		for range 50 {
			o.Stable = border * rapid.Float64Range(0.93, 1.07).Draw(t, "load")
			if o.Stable > 200 {
				o.Stable = 200
			}
			o.Load, o.Panic = int(o.Stable), o.Stable
			next := Desired(noon, o)
			if next < o.Current {
				changes++
			}
			o.Current = next
		}
		if changes > 1 {
			t.Fatalf("%d times down", changes)
		}
	})
}
