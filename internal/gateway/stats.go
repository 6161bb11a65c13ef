package gateway

import (
	"math/bits"
	"sync"
	"time"

	"modelmanager.dev/internal/platform"
)

const (
	slotLength = 10 * time.Second
	slots      = 30 // five minutes
	// Latencies are counted by powers of two of 128 µs: up to 128 µs, 256 µs, …
	latencies   = 22 // the last holds all above some four minutes
	latencyUnit = 128 * time.Microsecond
)

// stats counts a version's calls, for ever and over the last minutes.
type stats struct {
	mu      sync.Mutex
	classes [6]int64 // by the first digit of the status; 0: cut off
	latency [latencies]int64
	sum     time.Duration
	ring    *[slots]slot // nil before the first call
}

// slot counts the calls of slotLength.
type slot struct {
	at      int64 // number of the slot since 1970
	calls   int32
	errors  int32
	latency [latencies]int32
}

func (s *stats) record(now time.Time, took time.Duration, status int) {
	class := status / 100
	if class < 0 || class >= len(s.classes) {
		class = 0
	}
	bucket := latencyBucket(took)
	at := now.UnixNano() / int64(slotLength)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.classes[class]++
	s.latency[bucket]++
	s.sum += took
	if s.ring == nil {
		s.ring = new([slots]slot)
	}
	current := &s.ring[at%slots]
	if current.at != at {
		*current = slot{at: at}
	}
	current.calls++
	if class == 5 {
		current.errors++
	}
	current.latency[bucket]++
}

func latencyBucket(took time.Duration) int {
	if took <= latencyUnit {
		return 0
	}
	return min(bits.Len64(uint64((took-1)/latencyUnit)), latencies-1)
}

func bucketLimit(bucket int) time.Duration { return latencyUnit << bucket }

// addTo adds the counts of ever to those of another.
func (s *stats) addTo(other *stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	other.mu.Lock()
	defer other.mu.Unlock()
	for i, n := range s.classes {
		other.classes[i] += n
	}
	for i, n := range s.latency {
		other.latency[i] += n
	}
	other.sum += s.sum
}

// Stats is what became of a version's calls through this gateway lately.
// Latencies are upper bounds, within a factor of two.
type Stats struct {
	Window   time.Duration `json:"window"`
	Calls    int64         `json:"calls"`
	Errors   int64         `json:"errors"` // answered 5xx: the fault of the version or its platform
	P50      time.Duration `json:"p50"`
	P99      time.Duration `json:"p99"`
	LastCall time.Time     `json:"last_call"`
}

// Stats returns what became of a version's calls over the last five minutes.
func (g *Gateway) Stats(ref platform.Ref) Stats {
	found, ok := g.table.versions.Load(ref)
	if !ok {
		return Stats{Window: slots * slotLength}
	}
	v := found.(*version)
	return v.stats.lately(time.Now(), slots*slotLength, time.Unix(0, v.lastCall.Load()))
}

// StatsSince is Stats over the calls since a time, at most five minutes back;
// a canary's conditions look at what happened since its last step.
func (g *Gateway) StatsSince(ref platform.Ref, since time.Time) Stats {
	found, ok := g.table.versions.Load(ref)
	if !ok {
		return Stats{}
	}
	v, now := found.(*version), time.Now()
	return v.stats.lately(now, min(now.Sub(since), slots*slotLength), time.Unix(0, v.lastCall.Load()))
}

func (s *stats) lately(now time.Time, window time.Duration, last time.Time) Stats {
	total := Stats{Window: window}
	oldest := now.Add(-window).UnixNano() / int64(slotLength)
	var latency [latencies]int64
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ring == nil {
		return total
	}
	for i := range s.ring {
		if current := &s.ring[i]; current.at > oldest {
			total.Calls += int64(current.calls)
			total.Errors += int64(current.errors)
			for b, n := range current.latency {
				latency[b] += int64(n)
			}
		}
	}
	total.LastCall = last
	total.P50 = quantile(latency, total.Calls, 0.50)
	total.P99 = quantile(latency, total.Calls, 0.99)
	return total
}

func quantile(latency [latencies]int64, calls int64, q float64) time.Duration {
	if calls == 0 {
		return 0
	}
	rank, seen := int64(float64(calls)*q), int64(0)
	for bucket, n := range latency {
		if seen += n; seen > rank {
			return bucketLimit(bucket)
		}
	}
	return bucketLimit(latencies - 1)
}
