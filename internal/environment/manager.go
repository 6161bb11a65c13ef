package environment

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"

	"modelmanager.dev"
	"modelmanager.dev/internal/pause"
	"modelmanager.dev/internal/spec"
)

// Manager keeps environments in a folder, each under its hash. It is used by
// many goroutines at once, and many processes may share the folder.
type Manager struct {
	// Dir is the folder; it is made when it is needed.
	Dir string
	// Env is what programs that build an environment run with; default
	// Environ.
	Env    []string
	Logger *slog.Logger // default: slog.Default

	builds       singleflight.Group
	interpreters sync.Map // path, time and size → interpreter: asking one takes its time to start
	library      libraryCache
	warned       sync.Map // warnings that were logged
}

// Need is what a version needs an environment for.
type Need struct {
	Spec *spec.Spec
	Dir  string // the model's folder, with its lock file
}

// Prepare returns the environment of a version, and builds it if nobody has
// yet. progress, which may be nil, is told in a few words what is being done;
// of callers that wait for the same build, the first one's is. A build goes on
// when its caller's ctx ends, so that the next caller finds it.
func (m *Manager) Prepare(ctx context.Context, need Need, progress func(string)) (Environment, error) {
	if progress == nil {
		progress = func(string) {}
	}
	plan, err := m.plan(ctx, need)
	if err != nil {
		return Environment{}, err
	}
	if plan.warning != "" {
		progress("warning: " + plan.warning)
		if _, before := m.warned.LoadOrStore(plan.warning, true); !before {
			m.logger().Warn(plan.warning)
		}
	}
	if plan.build == nil {
		return plan.environment, nil
	}
	plan.environment.Hash = plan.hash()
	dir := m.path(plan.environment.Hash)
	if plan.ready(dir) {
		return plan.environment, m.touch(dir)
	}
	result := m.builds.DoChan(plan.environment.Hash, func() (any, error) {
		return nil, m.make(context.WithoutCancel(ctx), plan, progress)
	})
	select {
	case r := <-result:
		return plan.environment, r.Err
	case <-ctx.Done():
		return Environment{}, modelmanager.Errorf(modelmanager.CodeDeadlineExceeded, "the environment of %s is still being built: %w", need.Spec.Name, ctx.Err())
	}
}

// plan is an environment, and how to build it.
type plan struct {
	name        string // the model's
	environment Environment
	warning     string   // of what may make the model answer otherwise; "": nothing
	inputs      []string // all that the result depends on
	// build builds the environment in dir, which exists and is empty; nil if
	// there is nothing to build.
	build func(ctx context.Context, dir string, progress func(string)) error
}

func (p *plan) hash() string {
	sum := sha256.New()
	for _, input := range p.inputs {
		fmt.Fprintf(sum, "%d:%s\n", len(input), input)
	}
	return hex.EncodeToString(sum.Sum(nil))[:32]
}

// marker is written into an environment last; one without it is a ruin.
const marker = "complete.json"

func (p *plan) ready(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, marker))
	return err == nil
}

func (m *Manager) path(hash string) string {
	dir, err := filepath.Abs(filepath.Join(m.Dir, hash))
	if err != nil {
		return filepath.Join(m.Dir, hash)
	}
	return dir
}

// make builds an environment, unless another process does so first.
func (m *Manager) make(ctx context.Context, p *plan, progress func(string)) error {
	if err := os.MkdirAll(m.Dir, 0o755); err != nil {
		return fmt.Errorf("making the folder of environments: %w", err)
	}
	dir := m.path(p.environment.Hash)
	unlock, err := lock(ctx, dir+".lock", progress)
	if err != nil {
		return err
	}
	defer unlock()
	if p.ready(dir) {
		return m.touch(dir)
	}
	// What a killed build has left behind can't be trusted. An environment is
	// built in its final place, since its paths are written into it.
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing an unfinished environment: %w", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("making an environment's folder: %w", err)
	}
	started := time.Now()
	if err := p.build(ctx, dir, progress); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	m.logger().Info("built an environment", "hash", p.environment.Hash, "model", p.name, "took", time.Since(started).Round(time.Millisecond))
	return complete(dir, p)
}

func complete(dir string, p *plan) error {
	text, err := json.Marshal(map[string]any{"model": p.name, "built": time.Now().UTC()})
	if err != nil {
		return err
	}
	temporary := filepath.Join(dir, marker+".tmp")
	if err := os.WriteFile(temporary, text, 0o644); err != nil {
		return fmt.Errorf("completing an environment: %w", err)
	}
	return os.Rename(temporary, filepath.Join(dir, marker))
}

// touch notes that an environment is in use: Sweep goes by it.
func (m *Manager) touch(dir string) error {
	now := time.Now()
	if err := os.Chtimes(filepath.Join(dir, marker), now, now); err != nil && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("using environment %s: %w", filepath.Base(dir), err)
	}
	return nil
}

func (m *Manager) logger() *slog.Logger {
	if m.Logger == nil {
		return slog.Default()
	}
	return m.Logger
}

func (m *Manager) environ() []string {
	if m.Env == nil {
		return Environ()
	}
	return m.Env
}

// lock takes an exclusive lock on a file, which other processes respect too.
func lock(ctx context.Context, name string, progress func(string)) (unlock func(), err error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("locking an environment: %w", err)
	}
	for told := false; ; {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil // which unlocks
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = file.Close()
			return nil, fmt.Errorf("locking an environment: %w", err)
		}
		if !told {
			progress("waiting for another process that builds the same environment")
			told = true
		}
		if !pause.For(ctx, 100*time.Millisecond) {
			_ = file.Close()
			return nil, ctx.Err()
		}
	}
}

// Sweep removes environments that were not used for unused, but for those that
// keep names by their hash. It returns how many it removed.
func (m *Manager) Sweep(keep map[string]bool, unused time.Duration) (removed int, err error) {
	entries, err := os.ReadDir(m.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("sweeping environments: %w", err)
	}
	for _, entry := range entries {
		if !entry.IsDir() || keep[entry.Name()] || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		ok, sweepErr := m.sweepOne(filepath.Join(m.Dir, entry.Name()), unused)
		err = errors.Join(err, sweepErr)
		if ok {
			removed++
		}
	}
	return removed, err
}

func (m *Manager) sweepOne(dir string, unused time.Duration) (bool, error) {
	info, err := os.Stat(filepath.Join(dir, marker))
	if err != nil {
		info, err = os.Stat(dir) // a ruin
	}
	if err != nil || time.Since(info.ModTime()) < unused {
		return false, nil
	}
	file, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return false, fmt.Errorf("sweeping environment %s: %w", filepath.Base(dir), err)
	}
	defer file.Close()
	if unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false, nil // it is being built
	}
	// The marker goes first: a sweep that is killed leaves a ruin, not a trap.
	if err := os.Remove(filepath.Join(dir, marker)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("sweeping environment %s: %w", filepath.Base(dir), err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return false, fmt.Errorf("sweeping environment %s: %w", filepath.Base(dir), err)
	}
	return true, nil
}
