package kube

import "slices"

// turn is what is known of a step that is under way.
type turn struct {
	wanted  int  // tasks at a time, as asked for
	now     int  // tasks at a time, as its Job has it
	left    int  // tasks that have not ended
	placed  int  // pods that have a place, or had it until just now
	ending  int  // of these, the ones that have just ended
	made    int  // pods that were just made: whether there is room for them isn't known yet
	waiting int  // pods that there is no room for
	unfit   bool // room was made for it, and it found none in it
}

// takeTurns says how many tasks each step's Job may run at a time, so that jobs
// run side by side. A cluster gives a place that gets free to the pod that asks
// first, which is that of a job which has just lost one, not of one whose pods
// have waited for long: a large job would keep all places to its end.
//
// A step that has more than its share of the room, while another has less and
// waits, may run no more than it runs: it loses no pod that runs, or may be about
// to, and doesn't replace those that end. Where nobody is short, a step whose
// pods wait keeps a few waiting, to take what gets free, and one whose pods all
// run may run a few more.
//
// Its controller makes and counts pods at the same time: one that it makes
// between our count and its hearing of it is the one that it takes away again.
//
// Room is how many pods there are places for.
func takeTurns(room int, steps []turn) []int {
	shares := fairShares(room, steps)
	short := 0
	for i, s := range steps {
		if s.short(shares[i]) {
			short++
		}
	}
	next := make([]int, len(steps))
	for i, s := range steps {
		others := short
		if s.short(shares[i]) {
			others--
		}
		next[i] = max(1, min(s.next(shares[i], others > 0), s.wanted))
	}
	return next
}

// short tells whether a step waits for more room and should have it. One that
// has nothing should have a place even where there are fewer places than jobs.
func (s turn) short(share int) bool {
	return s.waiting > 0 && !s.unfit && (s.placed < share || s.placed == 0)
}

// next is how many tasks a step's Job may run at a time from now on.
func (s turn) next(share int, othersAreShort bool) int {
	spare := few(s.placed)
	switch {
	case othersAreShort && s.waiting == 0 && s.claim() <= share:
		return s.now
	case othersAreShort:
		return max(s.placed+s.made, share)
	case s.waiting > 0 && (s.now > s.placed+2*spare || s.now < s.placed+spare):
		return s.placed + spare
	case s.waiting == 0 && s.placed >= min(s.now, s.left) && s.now < s.left:
		return s.now + few(s.now)
	}
	return s.now
}

// claim is how many places a step asks for now. One that waits asks for a few
// at a time, so that little is kept free for pods that may not fit there.
func (s turn) claim() int {
	switch {
	case s.unfit:
		return s.placed
	case s.waiting > 0:
		return max(s.placed, min(s.wanted, s.left, s.placed+few(s.placed)))
	}
	return max(s.placed, min(s.now, s.left))
}

// few is how many more pods than it has places a step may ask for. Something
// that adds nodes for pods that wait adds them for so many at a time.
func few(placed int) int { return 3 + placed/4 }

// fairShares divides the room by the steps' claims: none gets more than it
// claims, and what small ones leave is the large ones', in equal parts.
func fairShares(room int, steps []turn) []int {
	order := make([]int, len(steps))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if d := steps[a].claim() - steps[b].claim(); d != 0 {
			return d
		}
		return steps[a].placed - steps[b].placed
	})
	shares := make([]int, len(steps))
	for done, i := range order {
		shares[i] = min(steps[i].claim(), room/(len(order)-done))
		room -= shares[i]
	}
	return shares
}
