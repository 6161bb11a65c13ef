package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/control"
)

// zygotes are the processes from which Python workers are forked: one for each
// environment, with all modules that the models of this environment have been
// seen to import. Their number is bounded; one that nobody has asked for ends.
type zygotes struct {
	options zygoteOptions
	notes   moduleNotes

	mu      sync.Mutex
	all     map[string]*zygote // by key
	running int                // processes, those that are starting or being replaced among them
	closed  bool
	wait    sync.WaitGroup
	stop    chan struct{}
}

type zygoteOptions struct {
	homes   string        // each has its home in a folder below
	sockets string        // and its socket in one below this, whose path is short
	most    int           // at a time
	unused  time.Duration // after which one ends
	backoff control.Backoff
	logger  *slog.Logger
}

// zygote is what is known of one environment.
type zygote struct {
	noted
	key      string
	current  *generation
	starting chan struct{} // closed when the start under way is over
	used     time.Time
	failures int
	notNow   time.Time // no start before
}

// generation is one process of a zygote. One that has learned of more modules
// is replaced; the old process stays while workers of it live.
type generation struct {
	process *worker.Zygote
	modules int // that it was started with
	users   int
	retired bool
	ended   bool
}

// lease keeps a zygote alive while an agent may fork from it.
type lease struct {
	zygotes    *zygotes
	zygote     *zygote
	generation *generation
}

func newZygotes(options zygoteOptions, notes moduleNotes) *zygotes {
	return &zygotes{options: options, notes: notes, all: map[string]*zygote{}, stop: make(chan struct{})}
}

// zygoteKey names a zygote. Models share one if their workers' libraries are
// the same and see the same environment variables while they are imported.
func zygoteKey(n noted) string {
	sum := sha256.New()
	for _, part := range append([]string{n.Python, n.Hash}, n.Env...) {
		fmt.Fprintf(sum, "%d:%s\n", len(part), part)
	}
	return hex.EncodeToString(sum.Sum(nil))[:24]
}

// forkable tells whether a version's worker can be forked. Variables that
// steer the interpreter or the loader itself could bring a model's own code
// into the zygote, and have no effect after a fork.
func forkable(workload platform.Workload, p prepared) bool {
	if workload.Spec.Run.Python == "" || p.environment.Python == "" {
		return false
	}
	for name := range workload.Spec.Env {
		if strings.HasPrefix(name, "PYTHON") || strings.HasPrefix(name, "LD_") {
			return false
		}
	}
	return true
}

// startPatience is how long a worker waits for its zygote to start: that takes
// as long as the imports that it then needn't make.
const startPatience = 10 * time.Second

// acquire returns a lease on the zygote of a version's environment, nil if
// there is none for this kind of worker. It waits for one that can be started.
func (z *zygotes) acquire(ctx context.Context, workload platform.Workload, p prepared) *lease {
	if z.options.most <= 0 || !forkable(workload, p) {
		return nil
	}
	environ, err := worker.ZygoteEnviron(workload.Spec, p.environment)
	if err != nil {
		return nil
	}
	n := noted{Python: p.environment.Python, Hash: p.environment.Hash, Env: environ}
	l := &lease{zygotes: z, zygote: z.of(n)}
	z.mu.Lock()
	defer z.mu.Unlock()
	l.zygote.used = time.Now()
	z.notes.touch(l.zygote.key)
	if workload.Spec.Resources.CPU >= 2000 && !slices.Contains(l.zygote.Modules, "threadpoolctl") {
		return l // its libraries couldn't be told to use more than one thread
	}
	starting := z.ensure(l.zygote)
	if l.zygote.current == nil && starting != nil {
		z.mu.Unlock()
		timer := time.NewTimer(startPatience)
		select {
		case <-starting:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		z.mu.Lock()
	}
	if l.generation = l.zygote.current; l.generation != nil {
		l.generation.users++
	}
	return l
}

// of returns the zygote of an environment, with what an earlier server noted.
func (z *zygotes) of(n noted) *zygote {
	key := zygoteKey(n)
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.all[key] == nil {
		n.Modules = z.notes.read(key).Modules
		z.all[key] = &zygote{noted: n, key: key}
	}
	return z.all[key]
}

// ensure starts a zygote, unless it runs with all it should have imported. The
// caller holds the lock. The channel is closed when a start is over; it is nil
// if there is none.
func (z *zygotes) ensure(one *zygote) <-chan struct{} {
	if one.starting != nil {
		return one.starting
	}
	modules := one.wanted()
	if z.closed || len(modules) == 0 || time.Now().Before(one.notNow) || one.current != nil && one.current.modules >= len(modules) {
		return nil
	}
	if z.running >= z.options.most && !z.makeRoom(one) {
		return nil
	}
	z.running++
	how := one.noted // it may change meanwhile
	starting := make(chan struct{})
	one.starting = starting
	z.wait.Go(func() {
		defer close(starting)
		process, err := z.start(one.key, how, modules)
		z.mu.Lock()
		defer z.mu.Unlock()
		one.starting = nil
		if err != nil {
			z.running--
			z.failed(one, err)
			return
		}
		z.retire(one)
		g := &generation{process: process, modules: len(modules)}
		one.current = g
		one.notNow = time.Now().Add(replaceEvery)
		z.wait.Go(func() { z.watch(one, g, time.Now()) })
		if z.closed {
			z.retire(one)
		}
	})
	return starting
}

// replaceEvery keeps zygotes that learn from being replaced all the time.
const replaceEvery = 10 * time.Second

// failed notes that a start has failed. The caller holds the lock.
func (z *zygotes) failed(one *zygote, err error) {
	var threads *worker.ThreadsError
	if errors.As(err, &threads) && !slices.Contains(one.Excluded, threads.Module) {
		// The next start does without it.
		one.Excluded = append(one.Excluded, threads.Module)
		z.notes.write(one.key, one.noted)
		z.options.logger.Info("a module is not imported beforehand", "reason", err, "python", one.Python)
		return
	}
	one.failures++
	one.notNow = time.Now().Add(z.options.backoff.Delay(one.failures))
	z.options.logger.Warn("starting a zygote failed; workers import for themselves", "error", err, "python", one.Python)
}

func (z *zygotes) start(key string, n noted, modules []string) (*worker.Zygote, error) {
	home, dir := filepath.Join(z.options.homes, "zygote-"+key), filepath.Join(z.options.sockets, key[:12])
	for _, folder := range []string{home, dir} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, fmt.Errorf("making a zygote's folder: %w", err)
		}
	}
	log, err := os.OpenFile(filepath.Join(home, "zygote.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening a zygote's log: %w", err)
	}
	defer log.Close()
	begin := time.Now()
	process, err := worker.StartZygote(worker.ZygoteOptions{
		Python: n.Python, Dir: dir, Home: home, Modules: modules, Log: log,
		Env: append(slices.Clone(n.Env), markVariable+"="+home),
	})
	if err == nil {
		z.options.logger.Debug("a zygote is ready", "python", n.Python, "modules", len(modules), "took", time.Since(begin).Round(time.Millisecond))
	}
	return process, err
}

// watch waits until a generation has ended. One that ends by itself is started
// again when it is wanted, and after a pause if it hadn't lived for long.
func (z *zygotes) watch(one *zygote, g *generation, since time.Time) {
	<-g.process.Exited()
	z.mu.Lock()
	defer z.mu.Unlock()
	z.running--
	g.ended = true
	if one.current == g {
		one.current = nil
		if time.Since(since) > time.Minute {
			one.failures = 0
		}
		one.failures++
		one.notNow = time.Now().Add(z.options.backoff.Delay(one.failures))
		z.options.logger.Warn("a zygote ended", "python", one.Python)
		if g.users > 0 {
			z.wait.Go(func() { z.again(one) })
		}
	}
}

// again starts a zygote that somebody uses once its pause is over.
func (z *zygotes) again(one *zygote) {
	z.mu.Lock()
	pause := time.Until(one.notNow)
	z.mu.Unlock()
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		z.mu.Lock()
		defer z.mu.Unlock()
		z.ensure(one)
	case <-z.stop:
	}
}

// retire takes a zygote's process out of use, and ends it once nobody uses it.
// The caller holds the lock.
func (z *zygotes) retire(one *zygote) {
	g := one.current
	if g == nil {
		return
	}
	one.current = nil
	g.retired = true
	z.endUnused(g)
}

func (z *zygotes) endUnused(g *generation) {
	if g.retired && g.users == 0 && !g.ended {
		g.ended = true
		z.wait.Go(func() { _ = g.process.Close() })
	}
}

// makeRoom ends the zygote that was least recently used, of those without
// workers. The caller holds the lock.
func (z *zygotes) makeRoom(but *zygote) bool {
	var oldest *zygote
	for _, one := range z.all {
		if one != but && one.current != nil && one.current.users == 0 && (oldest == nil || one.used.Before(oldest.used)) {
			oldest = one
		}
	}
	if oldest == nil {
		return false
	}
	z.retire(oldest)
	return true
}

// sweep ends zygotes that nobody has asked for, and forgets them.
func (z *zygotes) sweep(now time.Time) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for key, one := range z.all {
		if one.starting != nil || one.current != nil && one.current.users > 0 || now.Sub(one.used) < z.options.unused {
			continue
		}
		z.retire(one)
		delete(z.all, key)
	}
}

// restore starts the zygotes that were in use lately when the server ended.
func (z *zygotes) restore() {
	for key, n := range z.notes.recent(z.options.unused, z.options.most) {
		one := z.of(n)
		if one.key != key {
			continue
		}
		z.mu.Lock()
		one.used = time.Now()
		starting := z.ensure(one)
		z.mu.Unlock()
		if starting != nil {
			<-starting // one at a time: there are others that want to start now
		}
	}
}

// close ends all zygotes; nobody uses them any more.
func (z *zygotes) close() {
	z.mu.Lock()
	z.closed = true
	close(z.stop)
	for one := range maps.Values(z.all) {
		if one.current != nil {
			one.current.users = 0
		}
		z.retire(one)
	}
	z.mu.Unlock()
	z.wait.Wait()
}

// socket is for an agent's configuration; "" if there is no zygote yet.
func (l *lease) socket() string {
	if l == nil || l.generation == nil {
		return ""
	}
	return l.generation.process.Socket()
}

// learn takes note of what a worker in runDir has imported, and has the zygote
// import it, too.
func (l *lease) learn(runDir string) {
	if l == nil {
		return
	}
	modules, err := worker.ReadModules(runDir)
	if err != nil || len(modules) == 0 {
		return
	}
	z := l.zygotes
	z.mu.Lock()
	defer z.mu.Unlock()
	z.all[l.zygote.key] = l.zygote // it may have been forgotten meanwhile
	if l.zygote.add(modules) {
		z.notes.write(l.zygote.key, l.zygote.noted)
	}
	z.ensure(l.zygote)
}

// release says that the agent is gone.
func (l *lease) release() {
	if l == nil || l.generation == nil {
		return
	}
	z := l.zygotes
	z.mu.Lock()
	defer z.mu.Unlock()
	l.zygote.used = time.Now()
	l.generation.users--
	z.endUnused(l.generation)
}
