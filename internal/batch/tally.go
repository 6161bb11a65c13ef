package batch

import (
	"maps"

	"modelmanager.dev"
)

// tally is how far the shards of a job have come. It keeps its sums as it
// goes: taking a report, and telling the totals, cost the same whether a job
// has ten shards or 1e5.
type tally struct {
	done map[int]*shardRecord
	live map[int]attempt // of shards that aren't done

	doneSum, liveSum sum
}

// sum is what shards, or attempts at them, add up to.
type sum struct {
	rows modelmanager.JobRows
	cpu  float64 // seconds
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
	c.doneSum.add(done.Rows, done.CPUSeconds, 1)
}

// report notes how far a shard's latest attempt has come.
func (c *tally) report(index int, a attempt) {
	if c.done[index] != nil {
		return
	}
	c.end(index)
	c.live[index] = a
	c.liveSum.add(a.rows, a.cpu, 1)
}

// end forgets the attempt at a shard.
func (c *tally) end(index int) {
	a, ok := c.live[index]
	if !ok {
		return
	}
	delete(c.live, index)
	c.liveSum.add(a.rows, a.cpu, -1)
	if len(c.live) == 0 {
		c.liveSum = sum{} // and nothing is left of rounding
	}
}

// total adds up the shards that are done and, if asked, the attempts under way.
func (c *tally) total(live bool) sum {
	total := c.doneSum
	total.rows.Filled = maps.Clone(total.rows.Filled)
	if live {
		total.add(c.liveSum.rows, c.liveSum.cpu, 1)
	}
	return total
}

// add adds rows and seconds, times is 1, or takes them away, times is −1.
func (s *sum) add(rows modelmanager.JobRows, cpu float64, times int64) {
	s.rows.Read += times * rows.Read
	s.rows.Predicted += times * rows.Predicted
	s.rows.Rejected += times * rows.Rejected
	for feature, n := range rows.Filled {
		if s.rows.Filled == nil {
			s.rows.Filled = make(map[string]int64)
		}
		s.rows.Filled[feature] += times * n
	}
	s.cpu += float64(times) * cpu
}
