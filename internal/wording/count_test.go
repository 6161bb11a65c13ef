package wording_test

import (
	"testing"

	"modelmanager.dev/internal/wording"
)

func TestCost(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "", 0.04: "less than 0.1 CPU-seconds", 2: "2 CPU-seconds", 12.46: "12.5 CPU-seconds", 300: "300 CPU-seconds",
		360: "0.1 CPU-hours", 4500: "1.25 CPU-hours", 7200: "2 CPU-hours", 3.6e7: "10000 CPU-hours",
	} {
		if got := wording.Cost(seconds); got != want {
			t.Errorf("%v seconds are %q, want %q", seconds, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 rows", 1: "1 row", 2: "2 rows"} {
		if got := wording.Count(n, "row"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
