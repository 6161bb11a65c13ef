package scaler

import "time"

// window keeps the loads of the last StableWindow.
type window struct {
	samples []sample // oldest first
}

type sample struct {
	at   time.Time
	load int
}

func (w *window) add(now time.Time, load int) {
	old := 0
	for old < len(w.samples) && now.Sub(w.samples[old].at) >= StableWindow {
		old++
	}
	w.samples = append(append(w.samples[:0], w.samples[old:]...), sample{now, load})
}

// average is that of the samples within span before now; a version that was
// first seen a moment ago is judged by what was seen.
func (w *window) average(now time.Time, span time.Duration) float64 {
	sum, n := 0, 0
	for i := len(w.samples) - 1; i >= 0 && now.Sub(w.samples[i].at) < span; i-- {
		sum += w.samples[i].load
		n++
	}
	if n == 0 {
		return 0
	}
	return float64(sum) / float64(n)
}
