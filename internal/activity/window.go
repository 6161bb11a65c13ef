package activity

import "time"

// Spans of what is remembered, and how finely.
const (
	fine   = 10 * time.Second // a slot of the last Lately
	coarse = time.Minute      // a slot of what is older, of a version with many slots
	many   = 90
	// Lately is what "now" means of calls: the last five minutes.
	Lately = 5 * time.Minute
	// Kept is how long calls are remembered.
	Kept = time.Hour
)

// window has the slots of a version. The one under way counts densely; those
// that are over hold only what they counted.
type window struct {
	current dense
	over    []Slot // oldest first; first the coarse ones
}

// dense is a slot that calls are added to.
type dense struct {
	at                                  int64 // seconds since 1970
	calls, errors, predictions, invalid int64
	latency                             [buckets]uint32
}

func (d *dense) slot() Slot {
	s := Slot{At: d.at, Seconds: int64(fine / time.Second), Counts: Counts{
		Calls: d.calls, Errors: d.errors, Predictions: d.predictions, Invalid: d.invalid,
	}}
	used := 0
	for _, n := range d.latency {
		if n > 0 {
			used++
		}
	}
	s.Latency = make(Latency, 0, used)
	for bucket, n := range d.latency {
		if n > 0 {
			s.Latency = append(s.Latency, Bucket{uint8(bucket), int64(n)})
		}
	}
	return s
}

func floor(second int64, span time.Duration) int64 {
	return second - second%int64(span/time.Second)
}

// record counts a call. Should the clock go back, it counts as of the latest
// slot.
func (w *window) record(now time.Time, call Call) {
	at := floor(now.Unix(), fine)
	if at > w.current.at {
		if w.current.calls > 0 {
			w.over = append(w.over, w.current.slot())
		}
		w.current = dense{at: at}
		w.fold(at)
	}
	d := &w.current
	d.calls++
	if call.failed() {
		d.errors++
	}
	d.predictions += int64(call.Predictions)
	d.invalid += int64(call.Invalid)
	d.latency[bucketOf(call.Took)]++
}

// fold makes minutes of the slots older than Lately, if there are many, and
// drops those older than Kept.
func (w *window) fold(now int64) {
	kept, fold := w.over[:0], len(w.over) > many
	for _, s := range w.over {
		if s.At+s.Seconds <= now-int64(Kept/time.Second) {
			continue
		}
		if fold && s.Seconds < int64(coarse/time.Second) && s.At+s.Seconds <= now-int64(Lately/time.Second) {
			s.At, s.Seconds = floor(s.At, coarse), int64(coarse/time.Second)
			if n := len(kept); n > 0 && kept[n-1].At == s.At {
				kept[n-1].Counts = kept[n-1].Plus(s.Counts)
				continue
			}
		}
		kept = append(kept, s)
	}
	clear(w.over[len(kept):])
	w.over = kept
}

// slots returns those that reach beyond a time, oldest first.
func (w *window) slots(since int64) []Slot {
	var list []Slot
	for _, s := range w.over {
		if s.At+s.Seconds > since {
			list = append(list, s)
		}
	}
	if w.current.calls > 0 && w.current.at+int64(fine/time.Second) > since {
		list = append(list, w.current.slot())
	}
	return list
}
