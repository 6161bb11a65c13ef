package batch

import (
	"maps"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/shard"
	"modelmanager.dev/internal/agent/worker"
)

// tally is how far the shards of a job have come. It keeps its sums as it
// goes: taking a report, and telling the totals, cost the same whether a job
// has ten shards or 1e5.
type tally struct {
	done map[int]*shardRecord
	live map[int]attempt // of shards that aren't done

	doneSum, liveSum sum

	// A row on which the model failed is guilty only if it answers others.
	proven  bool   // it has answered a row of the job, in whatever attempt
	message string // of the first row on which it failed, until then
	// When the model was first suspected: what was under way then is waited
	// for before it is called at fault.
	suspected time.Time
}

// sum is what shards, or attempts at them, add up to.
type sum struct {
	rows   modelmanager.JobRows
	cpu    float64 // seconds
	failed int64   // rows on which the model failed, of shards of which it has answered none
}

func newTally() tally {
	return tally{done: make(map[int]*shardRecord), live: make(map[int]attempt)}
}

// finish notes that a shard is done; of several words on that the first counts,
// since a shard's record is written once.
func (c *tally) finish(done *shardRecord) {
	c.end(done.Index)
	if c.done[done.Index] != nil {
		return
	}
	c.done[done.Index] = done
	c.doneSum.add(done.sum(), 1)
	c.judge(done.Guilt, done.Finished)
}

// takeBack forgets that a shard is done.
func (c *tally) takeBack(index int) {
	if done := c.done[index]; done != nil {
		delete(c.done, index)
		c.doneSum.add(done.sum(), -1)
	}
}

// report notes how far a shard's latest attempt has come.
func (c *tally) report(index int, a attempt) {
	if c.done[index] != nil {
		return
	}
	if before := c.live[index]; a.began.IsZero() && before.id == a.id {
		a.began = before.began
	}
	c.end(index)
	c.live[index] = a
	c.liveSum.add(a.sum(), 1)
	c.judge(a.guilt, a.at)
}

// end forgets the attempt at a shard.
func (c *tally) end(index int) {
	a, ok := c.live[index]
	if !ok {
		return
	}
	delete(c.live, index)
	c.liveSum.add(a.sum(), -1)
	if len(c.live) == 0 {
		c.liveSum = sum{} // and nothing is left of rounding
	}
}

// total adds up the shards that are done and, if asked, the attempts under way.
func (c *tally) total(live bool) sum {
	total := c.doneSum
	total.rows.Filled = maps.Clone(total.rows.Filled)
	if live {
		total.add(c.liveSum, 1)
	}
	return total
}

// judge takes what an attempt says of the model.
func (c *tally) judge(guilt shard.Guilt, now time.Time) {
	c.proven = c.proven || guilt.Passed
	if c.message == "" {
		c.message = guilt.Message
	}
	if c.suspected.IsZero() && (guilt.Asks || c.unproven() >= worker.MaxUnproven) {
		c.suspected = now
	}
}

// undecided tells that the model is suspected of failing everything, and that
// attempts that began before are still to say whether it does.
func (c *tally) undecided() bool {
	if c.proven || c.suspected.IsZero() {
		return false
	}
	for _, a := range c.live {
		if !a.guilt.Asks && a.began.Before(c.suspected) {
			return true
		}
	}
	return false
}

// rejected is how many rows count as rejected: those on which the model failed
// don't, as long as it may be the model that is at fault.
func (c *tally) rejected() int64 {
	rejected := c.doneSum.rows.Rejected + c.liveSum.rows.Rejected
	return rejected - min(rejected, c.unproven())
}

// unproven is on how many rows the model failed, if it has answered none.
func (c *tally) unproven() int64 {
	if c.proven {
		return 0
	}
	return c.doneSum.failed + c.liveSum.failed
}

func (d *shardRecord) sum() sum { return sum{rows: d.Rows, cpu: d.CPUSeconds, failed: d.Failed} }

func (a *attempt) sum() sum { return sum{rows: a.rows, cpu: a.cpu, failed: a.guilt.Failed} }

// add adds other; times is 1, or −1 to take it away.
func (s *sum) add(other sum, times int64) {
	s.rows.Read += times * other.rows.Read
	s.rows.Predicted += times * other.rows.Predicted
	s.rows.Rejected += times * other.rows.Rejected
	for feature, n := range other.rows.Filled {
		if s.rows.Filled == nil {
			s.rows.Filled = make(map[string]int64)
		}
		if s.rows.Filled[feature] += times * n; s.rows.Filled[feature] == 0 {
			delete(s.rows.Filled, feature)
		}
	}
	s.cpu += float64(times) * other.cpu
	s.failed += times * other.failed
}
