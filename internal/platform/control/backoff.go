package control

import "time"

// Backoff says how long to wait before trying again: First after the first
// failure, twice as long after each further one, at most Most. Something that
// had worked for as long as Steady starts anew.
type Backoff struct {
	First  time.Duration // default 500ms
	Most   time.Duration // default 1m
	Steady time.Duration // default 10s
}

func (b Backoff) withDefaults() Backoff {
	if b.First <= 0 {
		b.First = 500 * time.Millisecond
	}
	if b.Most <= 0 {
		b.Most = time.Minute
	}
	if b.Steady <= 0 {
		b.Steady = 10 * time.Second
	}
	return b
}

// Delay is delay, with the defaults.
func (b Backoff) Delay(failures int) time.Duration { return b.withDefaults().delay(failures) }

// delay returns the wait after so many failures in a row, 1 being the first.
func (b Backoff) delay(failures int) time.Duration {
	d := b.First
	for range failures - 1 {
		if d *= 2; d >= b.Most {
			return b.Most
		}
	}
	return min(d, b.Most)
}
