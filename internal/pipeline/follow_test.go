package pipeline

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"modelmanager.dev"
)

// target is a server that keeps the trees of what was published.
type target struct {
	mu       sync.Mutex
	versions map[string][]string
	away     int // of how many publications to come the server isn't there
}

func (s *target) Upload(_ context.Context, _ string, data io.Reader) (modelmanager.Upload, error) {
	n, err := io.Copy(io.Discard, data)
	return modelmanager.Upload{ID: "upload", Size: n}, err
}

func (s *target) Publish(_ context.Context, model string, request modelmanager.PublishRequest, _ string) (modelmanager.PublishResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away > 0 {
		s.away--
		return modelmanager.PublishResult{}, modelmanager.Errorf(modelmanager.CodeUnavailable, "not now")
	}
	s.versions[model] = append(s.versions[model], request.Source.Tree)
	result := modelmanager.PublishResult{New: true}
	result.Model, result.Version = model, len(s.versions[model])
	return result, nil
}

func (s *target) published(_ context.Context, model, tree string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.versions[model] {
		if t == tree {
			return true, nil
		}
	}
	return false, nil
}

func (s *target) count(model string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.versions[model])
}

// following is a Follower at work.
type following struct {
	t      *testing.T
	target *target
	passes chan map[string]error
	end    func()
}

func follow(t *testing.T, root string, to *target) *following {
	f := &following{t: t, target: to, passes: make(chan map[string]error, 100)}
	follower := &Follower{
		Root: root, Validator: validator(t), Target: to, Published: to.published,
		Interval: 10 * time.Millisecond, Again: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		follower.Run(ctx, func(problems map[string]error) { f.passes <- problems })
	}()
	f.end = func() { cancel(); <-ended }
	t.Cleanup(f.end)
	return f
}

// next returns the problems that are left after the next pass that dealt with
// anything.
func (f *following) next() map[string]error {
	f.t.Helper()
	select {
	case problems := <-f.passes:
		return problems
	case <-time.After(time.Minute):
		f.t.Fatal("the follower has dealt with nothing for a minute")
		return nil
	}
}

func (f *following) expect(model string, versions int) {
	f.t.Helper()
	if got := f.target.count(model); got != versions {
		f.t.Fatalf("%s has %d versions, not %d", model, got, versions)
	}
}

func TestFollow(t *testing.T) {
	root := t.TempDir()
	one, two := filepath.Join(root, "one"), filepath.Join(root, "two")
	writeModel(t, one, "", predictDouble)
	writeModel(t, two, "", predictDouble)
	to := &target{versions: map[string][]string{}}
	f := follow(t, root, to)

	if problems := f.next(); len(problems) != 0 {
		t.Fatal(problems)
	}
	f.expect("one", 1)
	f.expect("two", 1)

	// A changed folder is a new version, and the other is left alone.
	write(t, filepath.Join(one, "predict.py"), "# changed\n"+predictDouble)
	if problems := f.next(); len(problems) != 0 {
		t.Fatal(problems)
	}
	f.expect("one", 2)
	f.expect("two", 1)

	// A broken one is reported, and publishes nothing.
	write(t, filepath.Join(one, "predict.py"), "import nothing_like_this\n"+predictDouble)
	problems := f.next()
	if len(problems) != 1 || modelmanager.CodeOf(problems[one]) != modelmanager.CodeModelError {
		t.Fatal(problems)
	}
	write(t, filepath.Join(one, "model.yaml"), "name: one\nownr: nobody\n")
	problems = f.next()
	if len(problems) != 1 || modelmanager.CodeOf(problems[one]) != modelmanager.CodeInvalidSpec {
		t.Fatal(problems)
	}
	f.expect("one", 2)

	// Mended in two steps: yaml first, which isn't enough.
	writeModel(t, one, "", "# mended\n"+predictDouble)
	for problems = f.next(); len(problems) != 0; problems = f.next() {
	}
	f.expect("one", 3)

	// A twin is refused for its name, whatever it holds; its end is noticed.
	twin := filepath.Join(root, "zwilling")
	writeModel(t, twin, "labels: {a: b}", predictDouble)
	yaml, err := os.ReadFile(filepath.Join(twin, "model.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if problems = f.next(); len(problems) != 0 {
		t.Fatal(problems)
	}
	write(t, filepath.Join(twin, "model.yaml"), strings.Replace(string(yaml), "name: zwilling", "name: one", 1))
	problems = f.next()
	if modelmanager.CodeOf(problems[twin]) != modelmanager.CodeNameTaken {
		t.Fatal(problems)
	}
	f.expect("one", 3)
	if err := os.RemoveAll(twin); err != nil {
		t.Fatal(err)
	}
	for problems = f.next(); len(problems) != 0; problems = f.next() {
	}

	// One that starts anew leaves alone what has been published before.
	f.end()
	write(t, filepath.Join(two, "predict.py"), "# changed while nobody looked\n"+predictDouble)
	f = follow(t, root, to)
	if problems := f.next(); len(problems) != 0 {
		t.Fatal(problems)
	}
	f.expect("one", 3)
	f.expect("two", 2)
}

func TestFollowATemplate(t *testing.T) {
	base := t.TempDir()
	root := filepath.Join(base, "models")
	writeModel(t, filepath.Join(base, "template"), "", predictDouble)
	for _, name := range []string{"north", "south"} {
		write(t, filepath.Join(root, name, "model.yaml"), "extends: ../../template\nname: "+name+"\n")
	}
	writeModel(t, filepath.Join(root, "other"), "", predictDouble)
	to := &target{versions: map[string][]string{}}
	f := follow(t, root, to)
	if problems := f.next(); len(problems) != 0 {
		t.Fatal(problems)
	}
	write(t, filepath.Join(base, "template", "predict.py"), "# changed\n"+predictDouble)
	for to.count("north") < 2 || to.count("south") < 2 {
		if problems := f.next(); len(problems) != 0 {
			t.Fatal(problems)
		}
	}
	f.expect("other", 1)
}

func TestFollowNoFolder(t *testing.T) {
	follower := &Follower{Root: filepath.Join(t.TempDir(), "nothing"), Logger: slog.New(slog.DiscardHandler)}
	if err := follower.Run(t.Context(), nil); err == nil {
		t.Error("a folder that isn't there is followed")
	}
}

func TestAFaultThatPasses(t *testing.T) {
	root := t.TempDir()
	writeModel(t, filepath.Join(root, "doubler"), "", predictDouble)
	to := &target{versions: map[string][]string{}, away: 2}
	f := follow(t, root, to)
	for range 2 {
		if problems := f.next(); len(problems) != 1 {
			t.Errorf("while the server is away: %v", problems)
		}
	}
	if problems := f.next(); len(problems) != 0 || to.count("doubler") != 1 {
		t.Errorf("afterwards: %v, %d versions", problems, to.count("doubler"))
	}
}
