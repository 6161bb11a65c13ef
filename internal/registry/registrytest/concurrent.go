package registrytest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/spec"
)

// together calls f many times at once and fails the test on any error.
func together(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	var group sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		group.Go(func() { errs[i] = f(i) })
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func testConcurrentRecords(t *testing.T, open Open) {
	ctx, store := testContext(t), open(t)
	must[registry.Revision](t)(store.PutModel(ctx, modelmanager.Model{Name: "counter"}, registry.None))
	const writers, rounds = 8, 10
	together(t, writers, func(int) error {
		for done := 0; done < rounds; {
			model, revision, err := store.Model(ctx, "counter")
			if err != nil {
				return err
			}
			model.Latest++
			_, err = store.PutModel(ctx, model, revision)
			if err == nil {
				done++
			} else if modelmanager.CodeOf(err) != modelmanager.CodeConflict {
				return err
			}
		}
		return nil
	})
	model, _, err := store.Model(ctx, "counter")
	if err != nil || model.Latest != writers*rounds {
		t.Fatalf("after %d increments the counter is %d (%v)", writers*rounds, model.Latest, err)
	}
}

func testConcurrentVersions(t *testing.T, open Open) {
	ctx, store := testContext(t), open(t)
	const writers, numbers = 8, 5
	var mu sync.Mutex
	created := map[int][]int{}
	together(t, writers, func(writer int) error {
		for number := 1; number <= numbers; number++ {
			version := sampleVersion("a", number)
			version.By = strconv.Itoa(writer)
			err := store.CreateVersion(ctx, version)
			if err == nil {
				mu.Lock()
				created[number] = append(created[number], writer)
				mu.Unlock()
			} else if modelmanager.CodeOf(err) != modelmanager.CodeConflict {
				return err
			}
		}
		return nil
	})
	for number := 1; number <= numbers; number++ {
		if len(created[number]) != 1 {
			t.Fatalf("version %d was created by %v", number, created[number])
		}
		version := must[modelmanager.Version](t)(store.Version(ctx, "a", number))
		if version.By != strconv.Itoa(created[number][0]) {
			t.Fatalf("version %d was created by %v, and is by %s", number, created[number], version.By)
		}
	}
}

// Publication makes a publication of a model whose content depends on the
// model and the content's name alone.
func Publication(model, content string) registry.Publication {
	return registry.Publication{
		Spec: &spec.Spec{
			Name: model, Summary: "Content " + content, Owner: "owner@example.org",
			Serve: []modelmanager.Mode{modelmanager.RealTime, modelmanager.Batch},
		},
		Artifact: modelmanager.Artifact{
			Digest:  registry.Digest(content, ""),
			Archive: "artifacts/" + content,
		},
		Source: modelmanager.Source{Repository: "https://git.example.org/models", Commit: content},
		By:     "ana",
	}
}

func publishTogether(t *testing.T, registries []*registry.Registry) {
	t.Helper()
	const publishers, contents = 6, 4
	ctx := testContext(t)
	var mu sync.Mutex
	numbers := map[int]string{}
	together(t, publishers, func(publisher int) error {
		r := registries[publisher%len(registries)]
		for i := range contents {
			content := fmt.Sprintf("content-%d-%d", publisher, i)
			version, created, err := r.Publish(ctx, Publication("a", content))
			if err != nil {
				return err
			}
			mu.Lock()
			other, taken := numbers[version.Number]
			numbers[version.Number] = content
			mu.Unlock()
			if !created || taken {
				return fmt.Errorf("%s became version %d, created %t, which is %q", content, version.Number, created, other)
			}
		}
		return nil
	})
	model, err := registries[0].Get(ctx, "a")
	if err != nil || model.Latest != publishers*contents || len(numbers) != model.Latest {
		t.Fatalf("after %d publications the latest is %d, of %d numbers (%v)", publishers*contents, model.Latest, len(numbers), err)
	}
	for number, content := range numbers {
		version := must[modelmanager.Version](t)(registries[0].Version(ctx, "a", number))
		if version.Source.Commit != content {
			t.Fatalf("version %d is %s, want %s", number, version.Source.Commit, content)
		}
	}
}

func testRegistryPublishers(t *testing.T, open Open) {
	publishTogether(t, []*registry.Registry{registry.New(open(t), registry.Options{})})
}

func testTwoStoresPublish(t *testing.T, open Open) {
	publishTogether(t, []*registry.Registry{
		registry.New(open(t), registry.Options{}), registry.New(open(t), registry.Options{}),
	})
}

func testRegistryOneContent(t *testing.T, open Open) {
	ctx, r := testContext(t), registry.New(open(t), registry.Options{})
	var mu sync.Mutex
	created := 0
	together(t, 12, func(int) error {
		version, isNew, err := r.Publish(ctx, Publication("a", "same"))
		if err == nil && version.Number != 1 {
			err = fmt.Errorf("the same content became version %d", version.Number)
		}
		mu.Lock()
		defer mu.Unlock()
		if isNew {
			created++
		}
		return err
	})
	if created != 1 {
		t.Fatalf("%d publishers were told that theirs is new", created)
	}
}

func testRegistryNameClaimed(t *testing.T, open Open) {
	ctx, r := testContext(t), registry.New(open(t), registry.Options{})
	var mu sync.Mutex
	outcomes := map[string][]string{}
	together(t, 8, func(i int) error {
		repository := "https://git.example.org/" + strconv.Itoa(i%2)
		p := Publication("a", "content-"+strconv.Itoa(i))
		p.Source.Repository = repository
		_, _, err := r.Publish(ctx, p)
		outcome := string(modelmanager.CodeOf(err))
		mu.Lock()
		defer mu.Unlock()
		if !slices.Contains(outcomes[repository], outcome) {
			outcomes[repository] = append(outcomes[repository], outcome)
		}
		return nil
	})
	winners := 0
	for repository, got := range outcomes {
		switch strings.Join(got, " ") {
		case "":
			winners++
		case string(modelmanager.CodeNameTaken):
		default:
			t.Errorf("publishing from %s ended in %q", repository, got)
		}
	}
	if winners != 1 {
		t.Fatalf("the name belongs to %d repositories: %v", winners, outcomes)
	}
}
