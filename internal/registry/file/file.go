// Package file keeps a registry's records as JSON files in a folder, for one
// machine:
//
//	DIR/models/NAME/model.json
//	DIR/models/NAME/versions/NUMBER.json
//	DIR/journal                           the names of changed models, for other processes' watches
//
// Every file appears whole or not at all, and is on the disk before the call
// that wrote it returns. Several processes may use one folder: a lock on the
// model's folder orders their writes, and ends with the process that held it.
package file

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
)

// Options of a Store; the zero value is what the server uses.
type Options struct {
	Logger *slog.Logger  // told of files that can't be read; default slog.Default
	Poll   time.Duration // how often a watch looks for what other processes wrote; default 100ms
	Rescan time.Duration // how often at most a watch looks at every model's file; default 10s
}

// Store is a registry.Store in a folder.
type Store struct {
	dir     string // of models
	journal string
	options Options

	// fault, in tests, makes a write fail before the step it is called with.
	fault func(step string) error

	mu      sync.Mutex
	watches map[*watch]struct{}
	closed  bool
}

// Open opens the store in a folder, and makes the folder if there is none.
func Open(dir string, options Options) (*Store, error) {
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	if options.Poll <= 0 {
		options.Poll = 100 * time.Millisecond
	}
	if options.Rescan <= 0 {
		options.Rescan = 10 * time.Second
	}
	s := &Store{
		dir:     filepath.Join(dir, "models"),
		journal: filepath.Join(dir, "journal"),
		options: options,
		watches: map[*watch]struct{}{},
	}
	if err := makeFolder(s.dir); err != nil {
		return nil, failed("opening the registry in "+dir, err)
	}
	return s, nil
}

func failed(doing string, err error) error {
	return modelmanager.Errorf(modelmanager.CodeStorage, "%s: %w", doing, err)
}

func (s *Store) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return modelmanager.Errorf(modelmanager.CodeCancelled, "using the registry in %s: %w", s.dir, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return modelmanager.Errorf(modelmanager.CodeUnavailable, "using the registry in %s: it is closed", s.dir)
	}
	return nil
}

// folder returns a model's folder; the name is checked, for it becomes a path.
func (s *Store) folder(name string) (string, error) {
	if err := registry.CheckName(name); err != nil {
		return "", err
	}
	return filepath.Join(s.dir, name), nil
}

// Model implements registry.Store.
func (s *Store) Model(ctx context.Context, name string) (modelmanager.Model, registry.Revision, error) {
	if err := s.check(ctx); err != nil {
		return modelmanager.Model{}, registry.None, err
	}
	folder, err := s.folder(name)
	if err != nil {
		return modelmanager.Model{}, registry.None, notFound(name)
	}
	return readModel(folder, name)
}

func notFound(name string) error {
	return modelmanager.Errorf(modelmanager.CodeNotFound, "there is no model %.80q", name)
}

// readModel reads a model's file. Its revision is the hash of the file, so
// that a change made by hand is a change too.
func readModel(folder, name string) (modelmanager.Model, registry.Revision, error) {
	path := filepath.Join(folder, "model.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return modelmanager.Model{}, registry.None, notFound(name)
	}
	if err != nil {
		return modelmanager.Model{}, registry.None, failed("reading model "+name, err)
	}
	var model modelmanager.Model
	if err := json.Unmarshal(data, &model); err != nil {
		return modelmanager.Model{}, registry.None, damaged(path, err)
	}
	if model.Name != name {
		return modelmanager.Model{}, registry.None, damaged(path, errors.New("it is of model "+strconv.Quote(model.Name)))
	}
	return model, revisionOf(data), nil
}

func damaged(path string, err error) error {
	return modelmanager.Errorf(modelmanager.CodeStorage,
		"%s is damaged: %w; restore it from a backup", path, err)
}

func revisionOf(data []byte) registry.Revision {
	sum := sha256.Sum256(data)
	return registry.Revision(hex.EncodeToString(sum[:16]))
}

// PutModel implements registry.Store.
func (s *Store) PutModel(ctx context.Context, model modelmanager.Model, old registry.Revision) (registry.Revision, error) {
	if err := s.check(ctx); err != nil {
		return registry.None, err
	}
	folder, err := s.folder(model.Name)
	if err != nil {
		return registry.None, err
	}
	doing := "writing model " + model.Name
	data, err := encode(model)
	if err != nil {
		return registry.None, failed(doing, err)
	}
	if err := makeFolder(folder); err != nil {
		return registry.None, failed(doing, err)
	}
	release, err := lock(ctx, folder)
	if err != nil {
		return registry.None, err
	}
	defer release()
	path := filepath.Join(folder, "model.json")
	present, err := os.ReadFile(path)
	revision := registry.None
	if err == nil {
		revision = revisionOf(present)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return registry.None, failed(doing, err)
	}
	if revision != old {
		return registry.None, modelmanager.Errorf(modelmanager.CodeConflict, "%s: it was changed meanwhile", doing)
	}
	if err := s.replace(folder, path, data); err != nil {
		return registry.None, failed(doing, err)
	}
	s.announce(model.Name)
	return revisionOf(data), nil
}

func encode(record any) ([]byte, error) {
	data, err := json.MarshalIndent(record, "", "  ")
	return append(data, '\n'), err
}

// CreateVersion implements registry.Store.
func (s *Store) CreateVersion(ctx context.Context, version modelmanager.Version) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	folder, err := s.folder(version.Model)
	if err != nil {
		return err
	}
	doing := "writing version " + strconv.Itoa(version.Number) + " of " + version.Model
	if version.Number < 1 {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "%s: numbers start at 1", doing)
	}
	data, err := encode(version)
	if err != nil {
		return failed(doing, err)
	}
	versions := filepath.Join(folder, "versions")
	if err := makeFolder(versions); err != nil {
		return failed(doing, err)
	}
	release, err := lock(ctx, folder)
	if err != nil {
		return err
	}
	defer release()
	err = s.create(folder, filepath.Join(versions, strconv.Itoa(version.Number)+".json"), data)
	if errors.Is(err, fs.ErrExist) {
		return modelmanager.Errorf(modelmanager.CodeConflict, "%s: that number is taken", doing)
	}
	if err != nil {
		return failed(doing, err)
	}
	return nil
}

// DeleteVersion implements registry.Store.
func (s *Store) DeleteVersion(ctx context.Context, model string, number int) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	folder, err := s.folder(model)
	if err != nil {
		return nil
	}
	doing := "removing version " + strconv.Itoa(number) + " of " + model
	path := filepath.Join(folder, "versions", strconv.Itoa(number)+".json")
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	release, err := lock(ctx, folder)
	if err != nil {
		return err
	}
	defer release()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed(doing, err)
	}
	if err := s.sync(filepath.Dir(path)); err != nil {
		return failed(doing, err)
	}
	return nil
}

// Version implements registry.Store.
func (s *Store) Version(ctx context.Context, model string, number int) (modelmanager.Version, error) {
	if err := s.check(ctx); err != nil {
		return modelmanager.Version{}, err
	}
	folder, err := s.folder(model)
	if err != nil {
		return modelmanager.Version{}, notFound(model)
	}
	return readVersion(folder, model, number)
}

func readVersion(folder, model string, number int) (modelmanager.Version, error) {
	path := filepath.Join(folder, "versions", strconv.Itoa(number)+".json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return modelmanager.Version{}, modelmanager.Errorf(modelmanager.CodeNotFound, "model %s has no version %d", model, number)
	}
	if err != nil {
		return modelmanager.Version{}, failed("reading version "+strconv.Itoa(number)+" of "+model, err)
	}
	var version modelmanager.Version
	if err := json.Unmarshal(data, &version); err != nil {
		return modelmanager.Version{}, damaged(path, err)
	}
	if version.Model != model || version.Number != number {
		return modelmanager.Version{}, damaged(path, errors.New("it is of another version"))
	}
	return version, nil
}

// Versions implements registry.Store.
func (s *Store) Versions(ctx context.Context, model string, before, limit int) ([]modelmanager.Version, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	folder, err := s.folder(model)
	if err != nil {
		return nil, nil
	}
	names, err := readNames(filepath.Join(folder, "versions"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, failed("listing the versions of "+model, err)
	}
	var numbers []int
	for _, name := range names {
		digits, found := strings.CutSuffix(name, ".json")
		number, err := strconv.Atoi(digits)
		if found && err == nil && number > 0 && strconv.Itoa(number) == digits && (before == 0 || number < before) {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	slices.Reverse(numbers)
	var versions []modelmanager.Version
	for _, number := range numbers[:min(limit, len(numbers))] {
		if err := s.check(ctx); err != nil {
			return nil, err
		}
		version, err := readVersion(folder, model, number)
		if err != nil {
			return nil, err
		}
		versions = append(versions, version)
	}
	return versions, nil
}

func readNames(folder string) ([]string, error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// Close implements registry.Store. Watches that are under way end.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for w := range s.watches {
		w.signal()
	}
	return nil
}
