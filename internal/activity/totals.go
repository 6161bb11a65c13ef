package activity

import "time"

// Totals counts calls for ever.
type Totals struct {
	Classes [6]int64 // by the first digit of the status; 0: the caller got no whole answer
	Sum     time.Duration
	latency [buckets]int64
}

func (t *Totals) record(call Call) {
	class := call.Status / 100
	if class < 0 || class >= len(t.Classes) {
		class = 0
	}
	t.Classes[class]++
	t.Sum += call.Took
	t.latency[bucketOf(call.Took)]++
}

func (t *Totals) add(other *Totals) {
	for i, n := range other.Classes {
		t.Classes[i] += n
	}
	for i, n := range other.latency {
		t.latency[i] += n
	}
	t.Sum += other.Sum
}

// Histogram returns how many calls took at most so many seconds, by powers of
// two, and how many there were.
func (t *Totals) Histogram() (atMost map[float64]uint64, calls uint64) {
	atMost = make(map[float64]uint64, octaves)
	for bucket, n := range t.latency {
		calls += uint64(n)
		if bucket%parts == 0 && bucket < buckets-1 {
			atMost[limitOf(bucket).Seconds()] = calls
		}
	}
	return atMost, calls
}
