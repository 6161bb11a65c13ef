package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/registry/registrytest"
)

// The test binary publishes without end when this names a folder.
const publisherFolder = "MM_TEST_PUBLISHER_FOLDER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(publisherFolder); dir != "" {
		if err := publishEndlessly(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// publishEndlessly publishes and promotes, and says what was accepted.
func publishEndlessly(dir string) error {
	store, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	r := registry.New(store, registry.Options{})
	ctx := context.Background()
	fmt.Println("ready")
	for i := 0; ; i++ {
		name := fmt.Sprintf("model-%d", i%3)
		version, _, err := r.Publish(ctx, registrytest.Publication(name, fmt.Sprintf("%d-%d", os.Getpid(), i)))
		if err != nil {
			return err
		}
		fmt.Printf("published %s %d %s\n", name, version.Number, version.Digest)
		model, err := r.SetTraffic(ctx, name, modelmanager.All(version.Number), modelmanager.Change{By: "publisher"}, nil)
		if err != nil {
			return err
		}
		fmt.Printf("promoted %s %d %d\n", name, version.Number, model.Traffic().At.UnixMicro())
	}
}

// TestKilledAtAnyInstant runs two publishers on one folder, kills them at
// random instants, and looks for everything that they said was accepted.
func TestKilledAtAnyInstant(t *testing.T) {
	dir := t.TempDir()
	accepted := map[string]string{}        // model/number → digest
	promoted := map[string]map[int64]int{} // model → when, in microseconds → number
	const rounds = 12
	for round := range rounds {
		pause := time.Duration(rand.N(int64(60 * time.Millisecond)))
		first, second := startPublisher(t, dir), startPublisher(t, dir)
		time.AfterFunc(pause, first.kill)
		time.AfterFunc(pause+time.Duration(rand.N(int64(10*time.Millisecond))), second.kill)
		for _, p := range []*publisher{first, second} {
			for line := range strings.Lines(p.wait(t)) {
				var name, digest string
				var number int
				if _, err := fmt.Sscanf(line, "published %s %d %s\n", &name, &number, &digest); err == nil {
					key := fmt.Sprintf("%s/%d", name, number)
					if other, twice := accepted[key]; twice && other != digest {
						t.Fatalf("round %d: %s was given twice", round, key)
					}
					accepted[key] = digest
				}
				var at int64
				if _, err := fmt.Sscanf(line, "promoted %s %d %d\n", &name, &number, &at); err == nil {
					if promoted[name] == nil {
						promoted[name] = map[int64]int{}
					}
					promoted[name][at] = number
				}
			}
		}
		checkAccepted(t, dir, accepted, promoted)
	}
	if len(accepted) < rounds {
		t.Fatalf("only %d publications were accepted: the test shows nothing", len(accepted))
	}
	t.Logf("%d publications were accepted in %d rounds", len(accepted), rounds)
}

func checkAccepted(t *testing.T, dir string, accepted map[string]string, promoted map[string]map[int64]int) {
	t.Helper()
	store, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	r := registry.New(store, registry.Options{})
	for key, digest := range accepted {
		name, digits, _ := strings.Cut(key, "/")
		var number int
		if _, err := fmt.Sscan(digits, &number); err != nil {
			t.Fatal(err)
		}
		version, err := r.Version(t.Context(), name, number)
		if err != nil || version.Digest != digest {
			t.Fatalf("%s was accepted as %s and is %s (%v)", key, digest, version.Digest, err)
		}
		model, err := r.Get(t.Context(), name)
		if err != nil || model.Latest < number {
			t.Fatalf("%s was accepted, and the latest is %d (%v)", key, model.Latest, err)
		}
	}
	for name, settings := range promoted {
		model, err := r.Get(t.Context(), name)
		if err != nil || len(model.History) == 0 {
			t.Fatalf("%s was promoted, and its traffic is %+v (%v)", name, model.Traffic(), err)
		}
		checkSettings(t, model, settings)
		// No number is lost either: every one below the latest is a version.
		versions, err := store.Versions(t.Context(), name, model.Latest+1, 1<<20)
		if err != nil || len(versions) != model.Latest {
			t.Fatalf("%s has %d versions below %d (%v)", name, len(versions), model.Latest, err)
		}
	}
}

// checkSettings looks for every accepted setting, but for those that newer ones
// have pushed out of the history. One that was written and not told of may be
// there too.
func checkSettings(t *testing.T, model modelmanager.Model, settings map[int64]int) {
	t.Helper()
	kept := map[int64]int{}
	for _, setting := range model.History {
		kept[setting.At.UnixMicro()] = setting.Largest()
	}
	oldest := model.History[len(model.History)-1].At.UnixMicro()
	for at, number := range settings {
		full := len(model.History) == historyLength
		if kept[at] != number && (at >= oldest || !full) {
			t.Fatalf("version %d of %s was promoted at %d, and its history is %v", number, model.Name, at, model.History)
		}
	}
}

// historyLength is how many settings a model's record keeps.
const historyLength = 20

type publisher struct {
	command *exec.Cmd
	output  bytes.Buffer
	errors  bytes.Buffer
	ready   chan struct{}
}

func startPublisher(t *testing.T, dir string) *publisher {
	t.Helper()
	p := &publisher{command: exec.Command(os.Args[0])}
	p.command.Env = append(os.Environ(), publisherFolder+"="+dir)
	p.command.Stderr = &p.errors
	stdout, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(stdout, first); err != nil {
		t.Fatalf("starting a publisher: %v; %s", err, p.errors.String())
	}
	p.ready = make(chan struct{})
	go func() {
		defer close(p.ready)
		_, _ = io.Copy(&p.output, stdout) // ends with the process
	}()
	return p
}

func (p *publisher) kill() { _ = p.command.Process.Signal(syscall.SIGKILL) }

func (p *publisher) wait(t *testing.T) string {
	t.Helper()
	<-p.ready
	var exit *exec.ExitError
	if err := p.command.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("a publisher wasn't killed, but ended with %v; %s", err, p.errors.String())
	}
	return p.output.String()
}

// TestFailingSteps makes each step of each write fail, and tries again.
func TestFailingSteps(t *testing.T) {
	for _, step := range []string{stepWrite, stepAppear, stepSync, stepAnnounce} {
		for nth := 1; nth <= 3; nth++ {
			t.Run(fmt.Sprintf("%s %d", step, nth), func(t *testing.T) { failingStep(t, step, nth) })
		}
	}
}

func failingStep(t *testing.T, step string, nth int) {
	dir := t.TempDir()
	var log bytes.Buffer
	store, err := Open(dir, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	calls := 0
	store.fault = func(at string) error {
		if at == step {
			calls++
			if calls == nth {
				return syscall.ENOSPC
			}
		}
		return nil
	}
	r := registry.New(store, registry.Options{})
	p := registrytest.Publication("a", "one")
	_, _, err = r.Publish(t.Context(), p)
	if step == stepAnnounce {
		if err != nil || nth < 3 && !strings.Contains(log.String(), "journal") {
			t.Fatalf("a failing journal: %v, log %q", err, log.String())
		}
	} else if modelmanager.CodeOf(err) != modelmanager.CodeStorage || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("a full disk: %v", err)
	}
	version, _, err := r.Publish(t.Context(), p)
	if err != nil || version.Number != 1 {
		t.Fatalf("publishing again: version %d, %v", version.Number, err)
	}
	err = filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if strings.Contains(path, temporary) {
			t.Errorf("%s was left behind", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDamagedFiles: a torn or foreign file is reported with its path, and
// harms no other model.
func TestDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	store, err := Open(dir, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	r := registry.New(store, registry.Options{})
	for _, name := range []string{"empty", "torn", "foreign", "folder", "good"} {
		if _, _, err := r.Publish(t.Context(), registrytest.Publication(name, "one")); err != nil {
			t.Fatal(err)
		}
	}
	path := func(name string) string { return filepath.Join(dir, "models", name, "model.json") }
	whole, err := os.ReadFile(path("good"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"empty": "", "torn": string(whole[:len(whole)/2]), "foreign": string(whole)} {
		if err := os.WriteFile(path(name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Remove(path("folder")), os.Mkdir(path("folder"), 0o755),
		os.WriteFile(filepath.Join(dir, "models", "a-file"), nil, 0o644), os.Mkdir(filepath.Join(dir, "models", "Not A Model"), 0o755)); err != nil {
		t.Fatal(err)
	}
	var told []string
	ctx, cancel := context.WithCancel(t.Context())
	err = store.Watch(ctx, func(event registry.Event) {
		if event.Synced {
			cancel()
			return
		}
		told = append(told, event.Model.Name)
	})
	if !errors.Is(err, context.Canceled) && modelmanager.CodeOf(err) != modelmanager.CodeCancelled {
		t.Fatal(err)
	}
	if len(told) != 1 || told[0] != "good" {
		t.Fatalf("told of %v", told)
	}
	for _, name := range []string{"empty", "torn", "foreign", "folder"} {
		_, _, err := store.Model(t.Context(), name)
		if modelmanager.CodeOf(err) != modelmanager.CodeStorage || !strings.Contains(err.Error(), path(name)) {
			t.Errorf("%s: %v", name, err)
		}
		if !strings.Contains(log.String(), path(name)) {
			t.Errorf("%s isn't in the log", path(name))
		}
		if _, _, err := r.Publish(t.Context(), registrytest.Publication(name, "two")); modelmanager.CodeOf(err) != modelmanager.CodeStorage {
			t.Errorf("publishing to %s: %v", name, err)
		}
	}
	if _, _, err := r.Publish(t.Context(), registrytest.Publication("good", "two")); err != nil {
		t.Error(err)
	}
}

// TestWatchFindsWhatTheJournalMissed: a change made by hand, a writer that
// died before it wrote the journal, and a journal that was begun anew.
func TestWatchFindsWhatTheJournalMissed(t *testing.T) {
	dir := t.TempDir()
	open := func() *Store {
		store, err := Open(dir, Options{Poll: time.Millisecond, Rescan: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		return store
	}
	reader, writer := open(), open()
	events := make(chan registry.Event, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = reader.Watch(ctx, func(event registry.Event) { events <- event })
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	await := func(what string, latest int) {
		t.Helper()
		timeout := time.After(30 * time.Second)
		for {
			select {
			case event := <-events:
				if event.Model.Latest == latest {
					return
				}
			case <-timeout:
				t.Fatalf("%s wasn't told", what)
			}
		}
	}
	put := func(latest int) {
		t.Helper()
		_, revision, err := writer.Model(ctx, "a")
		if err != nil && modelmanager.CodeOf(err) != modelmanager.CodeNotFound {
			t.Fatal(err)
		}
		if _, err := writer.PutModel(ctx, modelmanager.Model{Name: "a", Latest: latest}, revision); err != nil {
			t.Fatal(err)
		}
	}
	put(1)
	await("the first record", 1)
	writer.fault = func(step string) error {
		if step == stepAnnounce {
			return errors.New("the writer died")
		}
		return nil
	}
	put(2)
	await("a change that isn't in the journal", 2)
	if err := os.WriteFile(filepath.Join(dir, "models", "a", "model.json"), []byte(`{"name": "a", "latest": 3}`), 0o644); err != nil {
		t.Fatal(err)
	}
	await("a change by hand", 3)
	writer.fault = nil
	if err := os.Truncate(filepath.Join(dir, "journal"), maxJournal); err != nil {
		t.Fatal(err)
	}
	put(4) // begins a new journal
	await("the change that begins a journal", 4)
	if info, err := os.Stat(filepath.Join(dir, "journal")); err != nil || info.Size() != 0 {
		t.Fatalf("the new journal: %v, %v", info, err)
	}
	put(5)
	await("the change after it", 5)
}
