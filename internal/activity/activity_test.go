package activity

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/peers"
	"modelmanager.dev/internal/platform"
)

func TestBuckets(t *testing.T) {
	for bucket := 1; bucket < buckets; bucket++ {
		lower, upper := limitOf(bucket-1), limitOf(bucket)
		if lower >= upper || bucketOf(lower) != bucket-1 || bucketOf(lower+1) != bucket || bucketOf(upper) != bucket {
			t.Fatalf("bucket %d is for (%v, %v], but holds %d %d %d", bucket, lower, upper, bucketOf(lower), bucketOf(lower+1), bucketOf(upper))
		}
	}
	if bucketOf(0) != 0 || bucketOf(-time.Second) != 0 || bucketOf(unit) != 0 || bucketOf(24*time.Hour) != buckets-1 {
		t.Error("the ends are elsewhere")
	}
}

// TestQuantiles: estimates are near what the calls really took, or where that
// was too short to tell, as short.
func TestQuantiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		took := rapid.SliceOfN(rapid.Int64Range(0, int64(4*time.Minute)), 1, 300).Draw(t, "took")
		var l Latency
		for _, d := range took {
			l = l.plus(Latency{{uint8(bucketOf(time.Duration(d))), 1}})
		}
		slices.Sort(took)
		for _, q := range []float64{0.5, 0.99} {
			want := time.Duration(took[max(int(float64(len(took))*q+0.999999)-1, 0)])
			got := l.Quantile(q)
			near := float64(got) >= 0.79*float64(want) && float64(got) <= 1.26*float64(want)
			if want <= unit {
				near = got <= unit
			}
			if !near {
				t.Errorf("the quantile %g of %v is %v, not %v", q, took, got, want)
			}
		}
	})
	if got := Latency(nil).Quantile(0.99); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

// TestWindow: what is in the slots is what was counted in their time, whenever
// one looks.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		recorder := NewRecorder()
		counter := recorder.Counter(platform.Ref{Model: "m", Version: 1})
		now := time.Unix(1_700_000_000, 0).Add(time.Duration(rapid.Int64Range(0, 3600).Draw(t, "start")) * time.Second)
		var times []time.Time
		for range rapid.IntRange(1, 100).Draw(t, "calls") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 7, 61, 400, 2000}).Draw(t, "pause")) * time.Second)
			counter.Record(now, Call{Took: time.Millisecond, Status: 200, Predictions: 2, Invalid: 1})
			times = append(times, now)
		}
		slots := recorder.model("m", now.Add(-Kept))[1]
		var total int64
		for i, s := range slots {
			end := s.At + s.Seconds
			if i > 0 && slots[i-1].At+slots[i-1].Seconds > s.At {
				t.Fatalf("slots overlap: %+v", slots)
			}
			var want int64
			for _, at := range times {
				if at.Unix() >= s.At && at.Unix() < end {
					want++
				}
			}
			// A minute that is partly older than an hour may have lost its older part.
			if s.Calls > want || s.Calls < want && s.At > now.Add(-Kept).Unix() || s.Invalid != s.Calls || s.Predictions != 2*s.Calls {
				t.Fatalf("%d calls in %+v", want, s)
			}
			total += s.Calls
		}
		var within int64
		for _, at := range times {
			if at.Unix() > now.Add(-Kept).Unix() {
				within++
			}
		}
		if total < within {
			t.Fatalf("%d of %d calls of the last hour", total, within)
		}
		if len(slots) > many+31 {
			t.Fatalf("%d slots", len(slots))
		}
	})
}

func TestWhatIsOldIsDropped(t *testing.T) {
	recorder, ref := NewRecorder(), platform.Ref{Model: "m", Version: 1}
	counter, now := recorder.Counter(ref), time.Unix(1_700_000_000, 0)
	if recorder.Sweep(now); len(recorder.models) != 0 || counter.Called() {
		t.Error("a version that was never called is kept")
	}
	counter.Record(now, Call{Status: 502})
	if recorder.Sweep(now.Add(Kept)); recorder.Counter(ref) != counter || !counter.Called() {
		t.Error("it is dropped too soon")
	}
	if recorder.Sweep(now.Add(Kept + time.Second)); len(recorder.models) != 0 || counter.window != nil {
		t.Error("it is kept for ever")
	}
	counter.Record(now.Add(2*Kept), Call{Status: 200})
	if got := recorder.model("m", now.Add(2*Kept-Lately)); len(got[1]) != 1 {
		t.Errorf("called again: %v", got)
	}
	var sum Totals
	if counter.MoveTo(&sum); sum.Classes != [6]int64{2: 1, 5: 1} {
		t.Errorf("in all, %v", sum.Classes)
	}
	if counter.AddTo(&sum); sum.Classes != [6]int64{2: 1, 5: 1} {
		t.Errorf("moved twice: %v", sum.Classes)
	}
}

func TestMemory(t *testing.T) {
	const versions = 500
	recorder, now := NewRecorder(), time.Unix(1_700_000_000, 0)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range versions {
		counter := recorder.Counter(platform.Ref{Model: fmt.Sprint("m", i), Version: 1})
		for second := range int(Kept / time.Second / 10) { // busy all the time
			for range 5 {
				counter.Record(now.Add(time.Duration(second)*10*time.Second), Call{Took: time.Duration(rand.IntN(50)) * time.Millisecond, Status: 200})
			}
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (after.HeapAlloc - before.HeapAlloc) / versions; each > 40<<10 {
		t.Errorf("a version that is called without end takes %d bytes", each)
	}
	runtime.KeepAlive(recorder)
}

// server is one of several, with what it sees.
type server struct {
	recorder *Recorder
	service  *Service
	tell     func(platform.ReplicaEvent)
	loads    []Load
	peers    []peers.Peer
}

func (s *server) Subscribe(tell func(platform.ReplicaEvent)) func() {
	s.tell = tell
	tell(platform.ReplicaEvent{Synced: true})
	return func() {}
}

func (s *server) Health(ref platform.Ref) modelmanager.Health {
	return modelmanager.Health{State: modelmanager.Starting, Reason: fmt.Sprint("of version ", ref.Version)}
}

// two makes servers that know each other.
func two(t *testing.T, now func() time.Time) (a, b *server) {
	t.Helper()
	made := [2]*server{}
	for i := range made {
		s := &server{recorder: NewRecorder()}
		s.service = New(Config{
			Recorder: s.recorder, Platform: s, Loads: func() []Load { return s.loads },
			Peers: found{s}, Key: []byte("a key of thirty-two bytes or more"), Now: now,
		})
		t.Cleanup(s.service.Close)
		made[i] = s
	}
	for i, s := range made {
		internal := httptest.NewServer(s.service.Handler())
		t.Cleanup(internal.Close)
		made[1-i].peers = []peers.Peer{{URL: internal.URL}}
	}
	return made[0], made[1]
}

func replica(version int, id string, stage agent.Stage) platform.ReplicaEvent {
	return platform.ReplicaEvent{Replica: platform.Replica{ID: id, Ref: platform.Ref{Model: "m", Version: version}, Stage: stage}}
}

func TestTwoServersAreAddedUp(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 30, 40, 0, time.UTC)
	a, b := two(t, func() time.Time { return now })
	one, other := platform.Ref{Model: "m", Version: 1}, platform.Ref{Model: "m", Version: 2}
	for _, s := range []*server{a, b} { // both see all replicas
		s.tell(replica(1, "x", agent.StageReady))
		s.tell(replica(1, "y", agent.StageLoading))
	}
	a.loads, b.loads = []Load{{one, 2, 0}, {platform.Ref{Model: "idle", Version: 1}, 0, 0}}, []Load{{one, 1, 0}, {other, 0, 3}}
	for i := range 100 {
		a.recorder.Counter(one).Record(now.Add(-2*time.Minute), Call{Took: 10 * time.Millisecond, Status: 200, Predictions: 3})
		if i < 10 {
			b.recorder.Counter(one).Record(now, Call{Took: time.Second, Status: 502, Predictions: 1, Invalid: 1})
		}
	}
	b.recorder.Counter(one).Record(now.Add(-59*time.Minute), Call{Status: 200}) // clocks may go back
	want := modelmanager.Activity{At: now, KnownSince: now, Versions: []modelmanager.VersionActivity{
		{
			Model: "m", Version: 1, Health: modelmanager.Health{State: modelmanager.Starting, Reason: "of version 1"},
			Replicas: 1, Pending: 1, InFlight: 3, LastCall: new(now),
			CallCounts: modelmanager.CallCounts{Calls: 111, Errors: 10, Predictions: 310, Invalid: 10},
		},
		{Model: "m", Version: 2, Health: modelmanager.Health{State: modelmanager.Starting, Reason: "of version 2"}, Waiting: 3},
	}}
	for name, s := range map[string]*server{"a": a, "b": b} {
		got := s.service.Now(t.Context())
		if p50, p99 := got.Versions[0].P50, got.Versions[0].P99; p50 < 8 || p50 > 12 || p99 < 800 || p99 > 1200 {
			t.Errorf("%s: latencies %v %v", name, p50, p99)
		}
		got.Versions[0].P50, got.Versions[0].P99 = 0, 0
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		model := s.service.Model(t.Context(), "m")
		if len(model.Versions) != 1 || model.From != now.Add(-59*time.Minute).Truncate(time.Minute) || model.To != now.Truncate(time.Minute).Add(time.Minute) {
			t.Fatalf("%s: %+v", name, model)
		}
		minutes := model.Versions[0].Minutes
		if n := len(minutes); n != 2 || minutes[0].Calls != 100 || minutes[0].Replicas != 0 || minutes[1].Calls != 11 || minutes[1].Replicas != 1 || minutes[1].Errors != 10 {
			t.Errorf("%s: minutes %+v", name, minutes)
		}
		if total := model.Versions[0].Total; total.Calls != 111 || total.P50 < 8 || total.P50 > 12 {
			t.Errorf("%s: in all %+v", name, total)
		}
		since, err := s.service.Since(t.Context(), "m", now.Add(-30*time.Second))
		if err != nil || since[1].Calls != 11 {
			t.Errorf("%s: since then %+v %v", name, since, err)
		}
	}
}

func TestAServerThatDoesNotAnswer(t *testing.T) {
	a, b := two(t, time.Now)
	unwell := httptest.NewServer(http.NotFoundHandler())
	defer unwell.Close()
	a.peers[0].URL = unwell.URL
	a.recorder.Counter(platform.Ref{Model: "m", Version: 1}).Record(time.Now(), Call{Status: 200})
	if got := a.service.Now(t.Context()); len(got.Versions) != 1 || got.Incomplete == "" {
		t.Errorf("%+v", got)
	}
	if got := a.service.Model(t.Context(), "m"); len(got.Versions) != 1 || got.Incomplete == "" {
		t.Errorf("%+v", got)
	}
	if got, err := a.service.Since(t.Context(), "m", time.Now()); got[1].Calls != 1 || err == nil {
		t.Errorf("%+v %v", got, err)
	}
	if got := b.service.Now(t.Context()); got.Incomplete != "" || len(got.Versions) != 1 {
		t.Errorf("%+v", got)
	}
}

// TestWhatARestartedServerForgotIsTold: all is known since the server that was
// started last counts, whoever is asked, and whether anything runs or not.
func TestWhatARestartedServerForgotIsTold(t *testing.T) {
	first := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	now := first
	a, b := two(t, func() time.Time { return now })
	now = now.Add(10 * time.Minute)
	restarted := New(Config{
		Recorder: NewRecorder(), Platform: b, Loads: func() []Load { return nil },
		Peers: found{b}, Key: []byte("a key of thirty-two bytes or more"), Now: func() time.Time { return now },
	})
	defer restarted.Close()
	internal := httptest.NewServer(restarted.Handler())
	defer internal.Close()
	if got := a.service.Now(t.Context()).KnownSince; !got.Equal(first) {
		t.Errorf("before: %v", got)
	}
	a.peers[0].URL = internal.URL
	now = now.Add(time.Minute)
	for name, s := range map[string]*Service{"the other": a.service, "itself": restarted} {
		if got := s.Now(t.Context()); !got.KnownSince.Equal(first.Add(10*time.Minute)) || len(got.Versions) != 0 {
			t.Errorf("%s: %+v", name, got)
		}
		if got := s.Model(t.Context(), "m"); !got.KnownSince.Equal(first.Add(10*time.Minute)) || len(got.Versions) != 0 {
			t.Errorf("%s, of a model: %+v", name, got)
		}
	}
}

func TestReplicasByMinute(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 5, 0, time.UTC)
	a, _ := two(t, func() time.Time { return now })
	a.tell(replica(1, "x", agent.StageLoading))
	now = now.Add(time.Minute)
	a.tell(replica(1, "x", agent.StageReady))
	a.tell(replica(1, "y", agent.StageReady))
	gone := replica(1, "y", agent.StageReady)
	gone.Gone = true
	a.tell(gone)
	now = now.Add(3 * time.Minute)
	gone = replica(1, "x", agent.StageReady)
	gone.Gone = true
	a.tell(gone)
	now = now.Add(2 * time.Minute)
	var got []string
	for _, m := range a.service.Model(t.Context(), "m").Versions[0].Minutes {
		got = append(got, fmt.Sprint(m.At.Minute(), ":", m.Replicas))
	}
	if want := []string{"1:2", "2:1", "3:1", "4:1"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	now = now.Add(2 * Kept)
	if got := a.service.Model(t.Context(), "m"); len(got.Versions) != 0 {
		t.Errorf("hours later: %+v", got)
	}
	if a.service.Now(t.Context()); len(a.service.replicas.history) != 0 {
		t.Errorf("it is remembered for ever: %v", a.service.replicas.history)
	}
}

// found are a server's peers.
type found struct{ *server }

func (f found) Peers(context.Context) ([]peers.Peer, error) { return f.peers, nil }

// TestSinceLeavesOutWhatWasBefore: what a version did before a time doesn't
// count against it later, when only minutes are known any more.
func TestSinceLeavesOutWhatWasBefore(t *testing.T) {
	for name, busy := range map[string]bool{"few calls": false, "many calls": true} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2026, 11, 22, 12, 0, 12, 0, time.UTC)
			a, _ := two(t, func() time.Time { return now })
			counter := a.recorder.Counter(platform.Ref{Model: "m", Version: 1})
			counter.Record(now, Call{Status: 502})
			since := now.Add(30 * time.Second)
			counter.Record(since, Call{Status: 200})
			for now = since; now.Before(since.Add(20 * time.Minute)); now = now.Add(10 * time.Second) {
				if busy {
					counter.Record(now, Call{Status: 200})
				}
				got, err := a.service.Since(t.Context(), "m", since)
				if err != nil || got[1].Errors != 0 || !busy && got[1].Calls != 1 {
					t.Fatalf("after %v: %+v %v", now.Sub(since), got, err)
				}
			}
		})
	}
}
