package activity

import (
	"math"
	"math/bits"
	"time"
)

// Latencies are counted in buckets whose limits are powers of two of unit, and
// three between each two of them: an estimate from them is a quarter off at most.
// Latencies up to unit aren't told apart.
const (
	unit    = 128 * time.Microsecond
	octaves = 21 // up to some four minutes; the last bucket has all beyond
	parts   = 4
	buckets = 1 + octaves*parts
)

// bucketOf returns the bucket of a latency: 0 is for all up to unit.
func bucketOf(took time.Duration) int {
	if took <= unit {
		return 0
	}
	t := took - 1 // limits belong to the bucket below them
	octave := bits.Len64(uint64(t / unit))
	if octave > octaves {
		return buckets - 1
	}
	lower := unit << (octave - 1)
	return 1 + (octave-1)*parts + int((t-lower)*parts/lower)
}

// limitOf is the highest latency of a bucket.
func limitOf(bucket int) time.Duration {
	if bucket <= 0 {
		return unit
	}
	lower := unit << ((bucket - 1) / parts)
	return lower + lower/parts*time.Duration((bucket-1)%parts+1)
}

// Latency counts calls by bucket, without the empty ones, in order.
type Latency []Bucket

// Bucket is how many calls were in one bucket.
type Bucket struct {
	Bucket uint8 `json:"b"`
	Calls  int64 `json:"n"`
}

// plus merges two counts.
func (l Latency) plus(other Latency) Latency {
	if len(l) == 0 {
		return other
	}
	if len(other) == 0 {
		return l
	}
	sum := make(Latency, 0, max(len(l), len(other))+4)
	for len(l) > 0 && len(other) > 0 {
		switch a, b := l[0], other[0]; {
		case a.Bucket < b.Bucket:
			sum, l = append(sum, a), l[1:]
		case a.Bucket > b.Bucket:
			sum, other = append(sum, b), other[1:]
		default:
			sum, l, other = append(sum, Bucket{a.Bucket, a.Calls + b.Calls}), l[1:], other[1:]
		}
	}
	return append(append(sum, l...), other...)
}

// Quantile estimates the latency that a share q of the calls didn't exceed; 0
// without calls.
func (l Latency) Quantile(q float64) time.Duration {
	var total int64
	for _, b := range l {
		total += b.Calls
	}
	rank := max(int64(math.Ceil(float64(total)*q)), 1)
	var seen int64
	for _, b := range l {
		if b.Calls > 0 && seen+b.Calls >= rank {
			var lower time.Duration
			if b.Bucket > 0 {
				lower = limitOf(int(b.Bucket) - 1)
			}
			within := float64(rank-seen) / float64(b.Calls)
			return lower + time.Duration(within*float64(limitOf(int(b.Bucket))-lower))
		}
		seen += b.Calls
	}
	return 0
}

// Above estimates how many calls took longer than a limit, rather too few than
// too many.
func (l Latency) Above(limit time.Duration) int64 {
	var above float64
	for _, b := range l {
		var lower time.Duration
		if b.Bucket > 0 {
			lower = limitOf(int(b.Bucket) - 1)
		}
		upper := limitOf(int(b.Bucket))
		switch {
		case lower >= limit:
			above += float64(b.Calls)
		case upper > limit:
			above += float64(b.Calls) * float64(upper-limit) / float64(upper-lower)
		}
	}
	return int64(above)
}
