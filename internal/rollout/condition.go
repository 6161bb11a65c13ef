package rollout

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"modelmanager.dev/internal/activity"
	"modelmanager.dev/internal/spec"
)

// How much must be seen before a canary goes back for it: one failed call of
// two is not "50% errors".
const (
	enough = 20 // calls, or predictions
	few    = 3  // of them, those that are bad
)

// defaultErrors is the share of calls that may fail where model.yaml says
// nothing of when to go back.
const defaultErrors = 0.05

// slowest is the share of calls that p99 leaves out.
const slowest = 0.01

// condition compares a share of bad ones with a limit.
type condition struct {
	limit         float64 // a share that is passed by more
	bad, of       int64   // of the new version
	badOld, ofOld int64   // of the one before
	// relative conditions count against the new version only if it is worse than
	// the one before.
	relative bool
	key      string // in model.yaml
	says     string // what is bad: "of %s calls failed"
	rule     string // what sends a canary back, to people
	limited  string // the limit, to people
	old      int    // the version before
}

func backWhen(r spec.Rollout) spec.BackWhen {
	if r.BackWhen != nil {
		return *r.BackWhen
	}
	errors := defaultErrors
	return spec.BackWhen{Errors: &errors}
}

func conditionsOf(s State, old int) (list []condition) {
	when := backWhen(s.Rollout)
	if when.Errors != nil {
		list = append(list, condition{
			limit: *when.Errors, bad: s.New.Errors, of: s.New.Calls, badOld: s.Before.Errors, ofOld: s.Before.Calls,
			key: "errors", says: "calls failed", limited: percent(*when.Errors), old: old,
			rule: fmt.Sprintf("more than %s of its calls fail", percent(*when.Errors)),
		})
	}
	if when.P99 > 0 {
		limit := time.Duration(when.P99)
		list = append(list, condition{
			limit: slowest, bad: slower(s.New.Latency, limit), of: s.New.Calls, badOld: slower(s.Before.Latency, limit), ofOld: s.Before.Calls,
			key: "p99", says: "calls took more than " + limit.String(), limited: percent(slowest), relative: true, old: old,
			rule: fmt.Sprintf("more than %s of its calls take more than %s, and a greater share than of version %d", percent(slowest), limit, old),
		})
	}
	if when.OutOfRange != nil {
		list = append(list, condition{
			limit: *when.OutOfRange, bad: s.New.Invalid, of: s.New.Predictions, badOld: s.Before.Invalid, ofOld: s.Before.Predictions,
			key: "out_of_range", says: "predictions broke what the model declares", limited: percent(*when.OutOfRange), old: old,
			rule: fmt.Sprintf("more than %s of its predictions break what it declares", percent(*when.OutOfRange)),
		})
	}
	return list
}

// exceeded tells whether the limit is passed, by however few.
func (c condition) exceeded() bool { return c.of > 0 && float64(c.bad) > c.limit*float64(c.of) }

// holds tells whether the version must go back.
func (c condition) holds() bool {
	switch {
	case !c.exceeded():
		return false
	case c.relative && c.ofOld >= enough && share(c.badOld, c.ofOld) >= share(c.bad, c.of):
		return false // the version before does no better
	case c.limit == 0:
		return true // not a single one was to be
	}
	return c.of >= enough && c.bad >= few
}

// passed says by how much the limit is passed.
func (c condition) passed() string {
	text := fmt.Sprintf("%s of %s %s (%s), more than the %s of back_when.%s",
		number(c.bad), number(c.of), c.says, percent(share(c.bad, c.of)), c.limited, c.key)
	if c.ofOld > 0 {
		text += fmt.Sprintf("; of version %d it was %s of %s (%s)", c.old, number(c.badOld), number(c.ofOld), percent(share(c.badOld, c.ofOld)))
	}
	return text
}

func share(part, of int64) float64 {
	if of == 0 {
		return 0
	}
	return float64(part) / float64(of)
}

// slower estimates how many calls took longer than a limit.
func slower(l activity.Latency, limit time.Duration) int64 { return l.Above(limit) }

// summary says what is seen of a version's calls.
func summary(c activity.Counts, at int) string {
	if c.Calls == 0 {
		return fmt.Sprintf("no calls at %d%%", at)
	}
	calls := "calls"
	if c.Calls == 1 {
		calls = "call"
	}
	text := fmt.Sprintf("%s %s at %d%%, of which %s failed, p99 %s", number(c.Calls), calls, at, number(c.Errors), roundly(c.Latency.Quantile(0.99)))
	if c.Invalid > 0 {
		text += fmt.Sprintf(", %s of %s predictions broke what the model declares", number(c.Invalid), number(c.Predictions))
	}
	return text
}

// percent writes a share with two digits at least: 5%, 0.15%.
func percent(share float64) string {
	value := share * 100
	if value != 0 && math.Abs(value) < 10 {
		value, _ = strconv.ParseFloat(strconv.FormatFloat(value, 'g', 2, 64), 64)
	} else {
		value = math.Round(value)
	}
	return strconv.FormatFloat(value, 'f', -1, 64) + "%"
}

// number writes a count in groups of three digits.
func number(n int64) string {
	text := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i, digit := range text {
		if i > 0 && (len(text)-i)%3 == 0 && text[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(digit)
	}
	return b.String()
}

// roundly writes a latency with as many digits as are known.
func roundly(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Microsecond).String()
}
