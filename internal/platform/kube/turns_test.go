package kube

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

func TestTurns(t *testing.T) {
	for _, c := range []struct {
		name  string
		room  int
		steps []turn
		want  []int
	}{
		{"all have room", 20, []turn{{wanted: 20, now: 20, left: 100, placed: 20}}, []int{20}},
		{"one alone keeps a few waiting", 20, []turn{{wanted: 40, now: 40, left: 200, placed: 20, waiting: 20}}, []int{28}},
		{"and goes on so", 20, []turn{{wanted: 40, now: 28, left: 200, placed: 18, waiting: 10}}, []int{28}},
		{"new room is tried", 24, []turn{{wanted: 40, now: 24, left: 200, placed: 24}}, []int{33}},
		{"up to what was asked for", 24, []turn{{wanted: 25, now: 24, left: 200, placed: 24}}, []int{25}},
		{"and to what is left", 24, []turn{{wanted: 40, now: 24, left: 24, placed: 24}}, []int{24}},
		{"pods that are on their way are no reason for anything", 20, []turn{{wanted: 40, now: 24, left: 200, placed: 20}}, []int{24}},
		{
			"a small job's turn", 20,
			[]turn{{wanted: 40, now: 24, left: 200, placed: 20, waiting: 4}, {wanted: 2, now: 2, left: 2, waiting: 2}},
			[]int{20, 2},
		},
		{
			"what ends isn't replaced", 20,
			[]turn{{wanted: 40, now: 20, left: 190, placed: 19}, {wanted: 2, now: 2, left: 2, waiting: 2}},
			[]int{19, 2},
		},
		{
			"but no more than that", 20,
			[]turn{{wanted: 40, now: 18, left: 190, placed: 17, waiting: 1}, {wanted: 2, now: 2, left: 2, waiting: 2}},
			[]int{18, 2},
		},
		{
			"nor is a pod taken away that was just made", 4,
			[]turn{{wanted: 40, now: 4, left: 190, placed: 3, made: 1}, {wanted: 2, now: 2, left: 2, waiting: 2}},
			[]int{4, 2},
		},
		{
			"room that is left is taken back", 20,
			[]turn{{wanted: 40, now: 18, left: 180, placed: 18}, {wanted: 2, now: 2, left: 2, placed: 2}},
			[]int{25, 2},
		},
		{
			"two large jobs", 20,
			[]turn{{wanted: 40, now: 24, left: 180, placed: 20, waiting: 4}, {wanted: 40, now: 40, left: 200, waiting: 40}},
			[]int{20, 3},
		},
		{
			"two large jobs in balance", 20,
			[]turn{{wanted: 40, now: 10, left: 180, placed: 10}, {wanted: 40, now: 10, left: 200, placed: 10, waiting: 3}},
			[]int{15, 15},
		},
		{
			"one that doesn't fit holds nobody back", 20,
			[]turn{{wanted: 40, now: 18, left: 180, placed: 18}, {wanted: 9, now: 9, left: 9, waiting: 9, unfit: true}},
			[]int{25, 3},
		},
		{
			"more jobs than places", 2,
			[]turn{{wanted: 4, now: 3, left: 9, placed: 1, waiting: 2}, {wanted: 4, now: 3, left: 9, placed: 1, waiting: 2}, {wanted: 4, now: 4, left: 9, waiting: 4}},
			[]int{1, 1, 4},
		},
		{
			"nothing is ever stopped", 0,
			[]turn{{wanted: 4, now: 4, left: 9, waiting: 4}, {wanted: 1, now: 1, left: 1, waiting: 1}},
			[]int{1, 1},
		},
	} {
		if got := takeTurns(c.room, c.steps); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// hall is a cluster with so many places, whose scheduler is as unkind as one can
// be: a place goes to the first job in the list that asks.
type hall struct {
	places int
	steps  []turn
	uids   []types.UID
	pods   []int // of each step, those without a place among them
	room   room
	now    time.Time
}

// fill lets the Jobs make their pods, and the scheduler find places for them.
func (h *hall) fill() {
	for i, s := range h.steps {
		h.pods[i] = max(s.placed, min(s.now, s.left))
	}
	h.seat()
}

// seat gives the places that are free to pods that there are.
func (h *hall) seat() {
	free := h.places
	for _, s := range h.steps {
		free -= s.placed - s.ending
	}
	for i := range h.steps {
		s := &h.steps[i]
		more := max(0, min(h.pods[i]-s.placed, free))
		s.placed, free = s.placed+more, free-more
		s.waiting = h.pods[i] - s.placed
	}
}

// end lets a task end, if one runs. A pod that waits takes its place at once, a
// round sees both, and the next one comes before the Job has replaced it.
func (h *hall) end(t *rapid.T, i int) {
	s := &h.steps[i]
	if s.placed == 0 {
		h.turn(t)
		return
	}
	s.ending = 1
	h.seat()
	h.turn(t)
	s.ending, s.placed, h.pods[i] = 0, s.placed-1, h.pods[i]-1
	h.turn(t)
}

// turn is one round; it fails the test if a pod that runs would be stopped.
func (h *hall) turn(t *rapid.T) {
	h.now = h.now.Add(time.Second)
	size := h.room.note(h.now, h.uids, h.steps)
	for i, next := range takeTurns(size, h.steps) {
		s := &h.steps[i]
		if next < 1 || next > s.wanted || next < s.placed {
			t.Fatalf("step %d of %+v may run %d at a time", i, h.steps, next)
		}
		s.now = next
		s.waiting = max(0, min(s.waiting, s.now-s.placed))
	}
}

func drawHall(t *rapid.T) *hall {
	h := &hall{places: rapid.IntRange(1, 40).Draw(t, "places"), now: time.Unix(0, 0)}
	for i := range rapid.IntRange(1, 6).Draw(t, "steps") {
		wanted := rapid.IntRange(1, 60).Draw(t, "wanted")
		h.steps = append(h.steps, turn{wanted: wanted, now: wanted, left: 1 << 20})
		h.uids = append(h.uids, types.UID(fmt.Sprint(i)))
	}
	h.pods = make([]int, len(h.steps))
	return h
}

// However unkind the scheduler is: as tasks of all jobs end, each job comes to its part of
// the places, nothing that runs is stopped, and few pods wait in vain.
func TestEachJobComesToItsPart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHall(t)
		part := h.places / len(h.steps)
		sum := make([]int, len(h.steps))
		const rounds = 300
		for round := range rounds {
			h.fill()
			if round >= rounds/2 {
				for i, s := range h.steps {
					sum[i] += s.placed
				}
			}
			h.turn(t)
			h.end(t, round%len(h.steps))
		}
		for i, s := range h.steps {
			// Where tasks are short, a place that it loses comes back when the next one ends.
			least, due := 0.2, min(part, s.wanted)
			if due >= 4 {
				least = 0.5
			}
			if mean := float64(sum[i]) / (rounds / 2); mean < least*float64(due) {
				t.Errorf("step %d of %+v had %.1f of %d places, its part of them is %d", i, h.steps, mean, h.places, part)
			}
			if waits := s.now - s.placed; waits > 3*few(s.placed)+1 {
				t.Errorf("step %d of %+v keeps %d pods waiting", i, h.steps, waits)
			}
		}
	})
}

// A job that is alone gets all there is, also when more is added.
func TestOneAloneGetsAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHall(t)
		h.steps, h.uids, h.pods = h.steps[:1], h.uids[:1], h.pods[:1]
		for range 2 {
			for range 100 {
				h.fill()
				h.turn(t)
			}
			h.fill()
			if want := min(h.places, h.steps[0].wanted); h.steps[0].placed != want {
				t.Errorf("%+v has %d places of %d", h.steps[0], h.steps[0].placed, h.places)
			}
			h.places *= 2
		}
	})
}

// A job whose pods fit nowhere costs the others little, and for a while.
func TestOneThatFitsNowhere(t *testing.T) {
	r := &room{}
	now := time.Unix(0, 0)
	large := turn{wanted: 40, now: 24, left: 1000, placed: 20, waiting: 4}
	giant := turn{wanted: 4, now: 4, left: 4, waiting: 4}
	uids := []types.UID{"large", "giant"}
	least, unused := 20, 0
	for range 600 {
		now = now.Add(time.Second)
		steps := []turn{large, giant}
		next := takeTurns(r.note(now, uids, steps), steps)
		large.now, giant.now = next[0], next[1]
		giant.waiting = giant.now
		// One task of the large one ends each second.
		large.placed = min(20, max(large.placed-1, large.now))
		large.waiting = max(0, large.now-large.placed)
		least = min(least, large.placed)
		unused += 20 - large.placed
	}
	if least < 18 || unused > 600*2/2 {
		t.Errorf("the large job had %d places at the least, and %d seconds of places were left unused", least, unused)
	}
}

// Where tasks are short, a pod takes the place of one that ended before rounds
// have forgotten that one. There isn't room for both: a pod of which the
// scheduler thinks only every ten seconds finds a place all the same.
func TestShortTasksMakeNoRoomThatIsNotThere(t *testing.T) {
	const places = 5
	r := &room{}
	now := time.Unix(0, 0)
	large := turn{wanted: 40, now: 9, left: 1000, placed: places, waiting: 4}
	small := turn{wanted: 2, now: 2, left: 1, waiting: 1}
	round := func() {
		now = now.Add(endedFor)
		steps := []turn{large, small}
		large.now = takeTurns(r.note(now, []types.UID{"large", "small"}, steps), steps)[0]
		large.waiting = max(0, min(large.waiting, large.now-large.placed))
	}
	for range 6 {
		for start := now; now.Sub(start) < 10*time.Second; {
			large.ending = 1
			if large.waiting > 0 {
				large.placed, large.waiting = large.placed+1, large.waiting-1
			}
			round()
			large.ending, large.placed = 0, large.placed-1
			round()
			pods := max(large.placed, large.now)
			large.placed = min(places, pods)
			large.waiting = pods - large.placed
		}
		if large.placed < places {
			return
		}
	}
	t.Errorf("after a minute there was no place beside %+v, in a room of %+v", large, *r)
}
