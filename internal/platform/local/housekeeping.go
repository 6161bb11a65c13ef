package local

import (
	"context"
	"errors"
	"time"
)

// housekeepingEvery is how often what nothing uses is looked for.
const housekeepingEvery = time.Hour

// zygotesEvery is how often zygotes are looked for that nobody has asked for.
const zygotesEvery = time.Minute

// startHousekeeping starts the loop that removes what nothing uses; the
// function that it returns ends the loop.
func (d *Driver) startHousekeeping() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(housekeepingEvery)
		defer tick.Stop()
		zygotes := time.NewTicker(zygotesEvery)
		defer zygotes.Stop()
		for {
			select {
			case <-zygotes.C:
				d.zygotes.sweep(time.Now())
			case <-tick.C:
				if err := d.keepHouse(); err != nil {
					d.options.Logger.Warn("removing what nothing uses", "error", err)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// keepHouse removes unpacked artifacts and environments that nothing has used
// for long. Both come again when they are wanted again.
func (d *Driver) keepHouse() error {
	folders, environments := map[string]bool{}, map[string]bool{}
	d.mu.Lock()
	for _, p := range d.live {
		folders[p.config.Dir] = true
		environments[p.config.Environment.Hash] = true
	}
	d.mu.Unlock()
	removed, err := d.artifacts.sweep(folders, d.options.Unused)
	d.zygotes.notes.sweep(d.options.Unused)
	if d.options.Environments != nil {
		n, sweepErr := d.options.Environments.Sweep(environments, d.options.Unused)
		removed, err = removed+n, errors.Join(err, sweepErr)
	}
	if removed > 0 {
		d.options.Logger.Info("removed artifacts and environments that nothing uses", "count", removed)
	}
	return err
}
