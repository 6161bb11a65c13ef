package file

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
)

// maxJournal is the size at which a writer starts a new journal.
const maxJournal = 1 << 20

// watch follows the folder for one caller. What this process writes reaches
// it at once, through dirty; what others write, by the journal; what the
// journal missed (a writer that died, a change by hand), by a look at every
// model's file now and then.
type watch struct {
	store *Store
	tell  func(registry.Event)
	wake  chan struct{} // of capacity 1

	mu    sync.Mutex
	dirty map[string]struct{}

	// seen holds, by the hash of a model's name, what its file looked like
	// when it was last told. Hashes that collide cost a needless event.
	seen map[uint64]uint64
	seed maphash.Seed

	journal *os.File
	read    int64 // bytes of the journal
}

func (w *watch) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watch) add(name string) {
	w.mu.Lock()
	w.dirty[name] = struct{}{}
	w.mu.Unlock()
	w.signal()
}

// announce tells of a change. A change that doesn't reach the journal is
// found later, so that failing here fails no write.
func (s *Store) announce(name string) {
	s.mu.Lock()
	for w := range s.watches {
		w.add(name)
	}
	s.mu.Unlock()
	err := s.step(stepAnnounce)
	if err == nil {
		err = s.enter(name)
	}
	if err != nil {
		s.options.Logger.Warn("writing the registry's journal failed; other processes see the change later",
			"model", name, "err", err)
	}
}

func (s *Store) enter(name string) error {
	f, err := os.OpenFile(s.journal, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(name + "\n")
	info, statErr := f.Stat()
	err = errors.Join(err, statErr, f.Close())
	if err != nil || info.Size() < maxJournal {
		return err
	}
	// Watches notice the new file, and look at every model.
	fresh, err := os.CreateTemp(filepath.Dir(s.journal), "journal"+temporary+"*")
	if err != nil {
		return err
	}
	return errors.Join(fresh.Chmod(0o644), fresh.Close(), os.Rename(fresh.Name(), s.journal))
}

// Watch implements registry.Store.
func (s *Store) Watch(ctx context.Context, event func(registry.Event)) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	w := &watch{
		store: s, tell: event, wake: make(chan struct{}, 1),
		dirty: map[string]struct{}{}, seen: map[uint64]uint64{}, seed: maphash.MakeSeed(),
	}
	s.mu.Lock()
	s.watches[w] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.watches, w)
		s.mu.Unlock()
		if w.journal != nil {
			w.journal.Close()
		}
	}()
	return w.run(ctx)
}

func (w *watch) run(ctx context.Context) error {
	if _, err := w.changed(); err != nil { // from here on the journal tells
		return err
	}
	scanned := time.Now()
	if err := w.scan(ctx); err != nil {
		return err
	}
	w.tell(registry.Event{Synced: true})
	pause := w.pause(time.Since(scanned))
	scanned = time.Now()
	poll := time.NewTicker(w.store.options.Poll)
	defer poll.Stop()
	for {
		if err := w.flush(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.wake:
			continue
		case <-poll.C:
		}
		renewed, err := w.changed()
		if err != nil {
			return err
		}
		if renewed || time.Since(scanned) > pause {
			start := time.Now()
			if err := w.scan(ctx); err != nil {
				return err
			}
			scanned = time.Now()
			pause = w.pause(scanned.Sub(start))
		}
	}
}

// pause keeps looking at every file below a fiftieth of the time.
func (w *watch) pause(took time.Duration) time.Duration {
	return max(w.store.options.Rescan, 50*took)
}

// changed reads what the journal has gained, and tells whether it is another
// journal than before.
func (w *watch) changed() (renewed bool, err error) {
	now, err := os.Stat(w.store.journal)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // nobody has written yet, or it is being made anew
	}
	if err != nil {
		return false, failed("following "+w.store.journal, err)
	}
	if w.journal != nil {
		open, err := w.journal.Stat()
		if err != nil {
			return false, failed("following "+w.store.journal, err)
		}
		if os.SameFile(now, open) && now.Size() >= w.read {
			return false, w.follow(now.Size())
		}
		w.journal.Close()
		w.journal = nil
	}
	f, err := os.Open(w.store.journal)
	if err != nil {
		return false, failed("following "+w.store.journal, err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return false, failed("following "+w.store.journal, err)
	}
	w.journal, w.read = f, info.Size()
	return true, nil
}

// follow reads the journal's whole lines up to size.
func (w *watch) follow(size int64) error {
	if size == w.read {
		return nil
	}
	data := make([]byte, size-w.read)
	n, err := w.journal.ReadAt(data, w.read)
	if err != nil && err != io.EOF {
		return failed("following "+w.store.journal, err)
	}
	whole := strings.LastIndexByte(string(data[:n]), '\n') + 1
	w.read += int64(whole)
	for name := range strings.Lines(string(data[:whole])) {
		w.add(strings.TrimSuffix(name, "\n"))
	}
	return nil
}

// flush tells the present state of the models that have changed.
func (w *watch) flush(ctx context.Context) error {
	if err := w.store.check(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	names := slices.Sorted(maps.Keys(w.dirty))
	clear(w.dirty)
	w.mu.Unlock()
	for _, name := range names {
		if registry.CheckName(name) != nil {
			continue
		}
		w.deliver(w.load(name, nil))
	}
	return ctx.Err()
}

// loaded is a model's file as it was read.
type loaded struct {
	name  string
	event registry.Event
	looks uint64 // 0: there is no file
	err   error
}

// load reads a model's file, unless it looks as it did.
func (w *watch) load(name string, seen func(name string) uint64) loaded {
	folder := filepath.Join(w.store.dir, name)
	info, err := os.Stat(filepath.Join(folder, "model.json"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return loaded{name: name}
	}
	if err != nil {
		return loaded{name: name, err: failed("reading model "+name, err)}
	}
	looks := looksOf(info)
	if seen != nil && seen(name) == looks {
		return loaded{name: name}
	}
	model, revision, err := readModel(folder, name)
	return loaded{name, registry.Event{Model: model, Revision: revision}, looks, err}
}

func (w *watch) deliver(l loaded) {
	if l.err != nil && modelmanager.CodeOf(l.err) != modelmanager.CodeNotFound {
		w.store.options.Logger.Error("a model's record can't be read; the model is left as it was", "model", l.name, "err", l.err)
	}
	if l.looks == 0 {
		return
	}
	w.seen[maphash.String(w.seed, l.name)] = l.looks
	if l.err == nil {
		w.tell(l.event)
	}
}

// looksOf tells one state of a file from another: a file that is replaced has
// another inode, one that is edited in place another time.
func looksOf(info fs.FileInfo) uint64 {
	inode := uint64(0)
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = stat.Ino
	}
	hash := uint64(14695981039346656037)
	for _, part := range []uint64{inode, uint64(info.ModTime().UnixNano()), uint64(info.Size())} {
		hash = (hash ^ part) * 1099511628211
		hash ^= hash >> 29
	}
	return max(hash, 1)
}

// scan looks at every model's file, and tells of those that look new. Files
// are read by several goroutines, and told by this one.
func (w *watch) scan(ctx context.Context) error {
	names, err := readNames(w.store.dir)
	if err != nil {
		return failed("reading the registry", err)
	}
	slices.Sort(names)
	const chunk = 256
	readers := min(runtime.GOMAXPROCS(0), 8)
	for len(names) > 0 {
		if err := w.store.check(ctx); err != nil {
			return fmt.Errorf("reading the registry: %w", err)
		}
		part := names[:min(chunk*readers, len(names))]
		names = names[len(part):]
		results := make([]loaded, len(part))
		var group sync.WaitGroup
		for reader := range readers {
			group.Go(func() {
				for i := reader; i < len(part); i += readers {
					if registry.CheckName(part[i]) == nil {
						results[i] = w.load(part[i], w.looked)
					}
				}
			})
		}
		group.Wait()
		for _, result := range results {
			w.deliver(result)
		}
	}
	return nil
}

// looked returns what a model's file looked like when it was last told. It is
// only called while seen doesn't change.
func (w *watch) looked(name string) uint64 { return w.seen[maphash.String(w.seed, name)] }
