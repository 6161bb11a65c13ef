package registry_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/registry/memory"
	"modelmanager.dev/internal/registry/registrytest"
)

// running returns a registry over a store in memory, in step with it.
func running(t *testing.T, store registry.Store) *registry.Registry {
	t.Helper()
	r := registry.New(store, registry.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Run(ctx) // ends with ctx
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	if err := r.WaitSynced(ctx); err != nil {
		t.Fatal(err)
	}
	return r
}

func publish(t *testing.T, r *registry.Registry, model, content string) modelmanager.Version {
	t.Helper()
	version, _, err := r.Publish(t.Context(), registrytest.Publication(model, content))
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func wantCode(t *testing.T, err error, code modelmanager.Code) {
	t.Helper()
	if modelmanager.CodeOf(err) != code {
		t.Fatalf("got %v of code %q, want code %q", err, modelmanager.CodeOf(err), code)
	}
}

func by(who string) modelmanager.Change {
	return modelmanager.Change{By: who, Reason: who + "'s reason"}
}

func TestPublishAnswersSameContent(t *testing.T) {
	r := running(t, memory.New())
	first := publish(t, r, "a", "one")
	publish(t, r, "a", "two")
	again := registrytest.Publication("a", "one")
	again.Source.Commit, again.By = "another commit", "ben"
	version, created, err := r.Publish(t.Context(), again)
	if err != nil || created {
		t.Fatalf("older content: created %t, %v", created, err)
	}
	if diff := cmp.Diff(first, version); diff != "" {
		t.Fatalf("older content answered another version (-want +got):\n%s", diff)
	}
	model, err := r.Get(t.Context(), "a")
	if err != nil || model.Latest != 2 {
		t.Fatalf("the latest is %d (%v), want 2", model.Latest, err)
	}
}

func TestPublishGivenNumber(t *testing.T) {
	r := running(t, memory.New())
	p := registrytest.Publication("a", "one")
	p.Number = 7
	for range 2 {
		version, _, err := r.Publish(t.Context(), p)
		if err != nil || version.Number != 7 {
			t.Fatalf("given number 7: got %d (%v)", version.Number, err)
		}
	}
	other := registrytest.Publication("a", "two")
	other.Number = 7
	_, _, err := r.Publish(t.Context(), other)
	wantCode(t, err, modelmanager.CodeConflict)
	p.Number = 8
	_, _, err = r.Publish(t.Context(), p)
	wantCode(t, err, modelmanager.CodeConflict)
	if version := publish(t, r, "a", "three"); version.Number != 8 {
		t.Fatalf("after 7 came %d", version.Number)
	}
	other.Number = 3
	version, created, err := r.Publish(t.Context(), other)
	if err != nil || !created || version.Number != 3 {
		t.Fatalf("a lower number that is free: %d, created %t, %v", version.Number, created, err)
	}
	if model, _ := r.Get(t.Context(), "a"); model.Latest != 8 {
		t.Fatalf("the latest fell to %d", model.Latest)
	}
}

func TestPublishRefusals(t *testing.T) {
	r := running(t, memory.New())
	for name, test := range map[string]struct {
		change func(*registry.Publication)
		code   modelmanager.Code
	}{
		"no spec":         {func(p *registry.Publication) { p.Spec = nil }, modelmanager.CodeBadRequest},
		"bad name":        {func(p *registry.Publication) { p.Spec.Name = "../etc" }, modelmanager.CodeBadRequest},
		"negative number": {func(p *registry.Publication) { p.Number = -1 }, modelmanager.CodeBadRequest},
		"huge number":     {func(p *registry.Publication) { p.Number = 1 << 40 }, modelmanager.CodeBadRequest},
		"no digest":       {func(p *registry.Publication) { p.Artifact.Digest = "" }, modelmanager.CodeBadRequest},
		"short digest":    {func(p *registry.Publication) { p.Artifact.Digest = "sha256:abc" }, modelmanager.CodeBadRequest},
		"no artifact":     {func(p *registry.Publication) { p.Artifact.Archive = "" }, modelmanager.CodeBadRequest},
		"two artifacts":   {func(p *registry.Publication) { p.Artifact.Image = "x@" + p.Artifact.Digest }, modelmanager.CodeBadRequest},
		"image by tag": {func(p *registry.Publication) {
			p.Artifact.Archive, p.Artifact.Image = "", "registry.example.org/x:latest"
		}, modelmanager.CodeBadRequest},
		"large spec": {func(p *registry.Publication) { p.Spec.Summary = strings.Repeat("x", registry.MaxSpec) }, modelmanager.CodeTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			p := registrytest.Publication("a", "one")
			test.change(&p)
			_, _, err := r.Publish(t.Context(), p)
			wantCode(t, err, test.code)
		})
	}
	_, err := r.Get(t.Context(), "a")
	wantCode(t, err, modelmanager.CodeNotFound)
}

func TestNameBelongsToRepository(t *testing.T) {
	r := running(t, memory.New())
	from := func(repository, content string) error {
		p := registrytest.Publication("a", content)
		p.Source.Repository = repository
		_, _, err := r.Publish(t.Context(), p)
		return err
	}
	for i, same := range []string{
		"", "https://git.example.org/team/models", "https://user@Git.Example.org/team/models.git/", "git@git.example.org:team/models.git",
	} {
		if err := from(same, fmt.Sprint(i)); err != nil {
			t.Fatalf("publishing from %q: %v", same, err)
		}
	}
	for _, other := range []string{"", "https://git.example.org/team/Models", "https://git.example.com/team/models", "git@git.example.org:models.git"} {
		wantCode(t, from(other, "other"), modelmanager.CodeNameTaken)
	}
}

func TestTrafficRefusals(t *testing.T) {
	r := running(t, memory.New())
	publish(t, r, "a", "one")
	publish(t, r, "a", "two")
	share := func(version, percent int) modelmanager.Share {
		return modelmanager.Share{Version: version, Percent: percent}
	}
	for name, test := range map[string]struct {
		traffic modelmanager.Traffic
		code    modelmanager.Code
	}{
		"nothing":        {modelmanager.Traffic{}, modelmanager.CodeBadRequest},
		"99":             {modelmanager.Traffic{Versions: []modelmanager.Share{share(1, 99)}}, modelmanager.CodeBadRequest},
		"101":            {modelmanager.Traffic{Versions: []modelmanager.Share{share(1, 100), share(2, 1)}}, modelmanager.CodeBadRequest},
		"negative":       {modelmanager.Traffic{Versions: []modelmanager.Share{share(1, 110), share(2, -10)}}, modelmanager.CodeBadRequest},
		"twice":          {modelmanager.Traffic{Versions: []modelmanager.Share{share(1, 50), share(1, 50)}}, modelmanager.CodeBadRequest},
		"version 0":      {modelmanager.Traffic{Versions: []modelmanager.Share{share(0, 100)}}, modelmanager.CodeBadRequest},
		"unknown":        {modelmanager.All(3), modelmanager.CodeNotFound},
		"unknown shadow": {modelmanager.Traffic{Versions: []modelmanager.Share{share(1, 100)}, Shadow: 3}, modelmanager.CodeNotFound},
		"its own shadow": {modelmanager.Traffic{Versions: []modelmanager.Share{share(1, 100)}, Shadow: 1}, modelmanager.CodeBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.SetTraffic(t.Context(), "a", test.traffic, by("ana"), nil)
			wantCode(t, err, test.code)
		})
	}
	_, err := r.SetTraffic(t.Context(), "unknown", modelmanager.All(1), by("ana"), nil)
	wantCode(t, err, modelmanager.CodeNotFound)
	_, err = r.Rollback(t.Context(), "a", by("ana"), nil)
	wantCode(t, err, modelmanager.CodeConflict)
}

func TestSetTrafficThatWasSeen(t *testing.T) {
	r := running(t, memory.New())
	publish(t, r, "a", "one")
	publish(t, r, "a", "two")
	seen, err := r.SetTraffic(t.Context(), "a", modelmanager.All(1), by("ana"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.SetTraffic(t.Context(), "a", modelmanager.All(2), by("loop"), new(seen.Traffic().At)); err != nil {
		t.Fatal(err)
	}
	_, err = r.SetTraffic(t.Context(), "a", modelmanager.All(1), by("loop"), new(seen.Traffic().At))
	wantCode(t, err, modelmanager.CodeConflict)
}

func TestRollbackGoesFurtherBack(t *testing.T) {
	r := running(t, memory.New())
	live := func() int {
		model, _ := r.Get(t.Context(), "a")
		return model.Traffic().Largest()
	}
	rollback := func(want int) {
		t.Helper()
		if _, err := r.Rollback(t.Context(), "a", by("ben"), nil); err != nil {
			t.Fatal(err)
		}
		if live() != want {
			t.Fatalf("rolled back to version %d, want %d", live(), want)
		}
	}
	promote := func(version int) {
		t.Helper()
		if _, err := r.SetTraffic(t.Context(), "a", modelmanager.All(version), by("ana"), nil); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 6 {
		publish(t, r, "a", fmt.Sprint(i))
	}
	promote(1)
	promote(2)
	promote(3)
	rollback(2)
	promote(4)  // chosen after 2, which 3 no longer follows
	rollback(2) // not 3: that was rolled back from
	rollback(1)
	_, err := r.Rollback(t.Context(), "a", by("ben"), nil)
	wantCode(t, err, modelmanager.CodeConflict)
	promote(5)
	if _, err := r.Retire(t.Context(), "a", by("ana"), registry.ByCommit{}); err != nil {
		t.Fatal(err)
	}
	publish(t, r, "a", "revived")
	rollback(5) // not to nothing
	rollback(1)
}

func TestRetireAndRevive(t *testing.T) {
	r := running(t, memory.New())
	publish(t, r, "a", "one")
	if _, err := r.SetTraffic(t.Context(), "a", modelmanager.All(1), by("ana"), nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.Retire(t.Context(), "a", by("ana"), registry.ByCommit{}); err != nil {
			t.Fatal(err)
		}
	}
	model, err := r.Get(t.Context(), "a")
	wantCode(t, err, modelmanager.CodeRetired)
	if model.Retired == nil || model.Retired.By != "ana" || model.Traffic().Largest() != 0 || len(model.History) != 2 {
		t.Fatalf("the retired model is %+v", model)
	}
	for _, change := range []func() (modelmanager.Model, error){
		func() (modelmanager.Model, error) {
			return r.SetTraffic(t.Context(), "a", modelmanager.All(1), by("ben"), nil)
		},
		func() (modelmanager.Model, error) { return r.Rollback(t.Context(), "a", by("ben"), nil) },
	} {
		_, err := change()
		wantCode(t, err, modelmanager.CodeRetired)
	}
	if _, err := r.Version(t.Context(), "a", 1); err != nil {
		t.Fatalf("a retired model's version: %v", err)
	}
	if page, _ := r.List(registry.Query{}); len(page.Models) != 0 {
		t.Fatalf("a retired model is listed: %v", page.Models)
	}
	if page, _ := r.List(registry.Query{Retired: true}); len(page.Models) != 1 || page.Models[0].Retired == nil {
		t.Fatalf("retired models listed: %v", page.Models)
	}
	if version := publish(t, r, "a", "one"); version.Number != 1 {
		t.Fatalf("reviving made version %d", version.Number)
	}
	model, err = r.Get(t.Context(), "a")
	if err != nil || model.Retired != nil || model.Traffic().Largest() != 0 || model.Traffic().By != "ana" {
		t.Fatalf("the revived model is %+v (%v)", model, err)
	}
}

func TestModelFollowsLargestShare(t *testing.T) {
	r := running(t, memory.New())
	summary := func() string {
		model, _ := r.Get(t.Context(), "a")
		return model.Summary
	}
	publish(t, r, "a", "one")
	publish(t, r, "a", "two")
	if summary() != "Content two" {
		t.Fatalf("before traffic: %q", summary())
	}
	if _, err := r.SetTraffic(t.Context(), "a", modelmanager.All(1), by("ana"), nil); err != nil {
		t.Fatal(err)
	}
	publish(t, r, "a", "three")
	if summary() != "Content one" {
		t.Fatalf("with traffic on version 1: %q", summary())
	}
	_, err := r.SetTraffic(t.Context(), "a", modelmanager.Traffic{Versions: []modelmanager.Share{{Version: 1, Percent: 50}, {Version: 3, Percent: 50}}}, by("ana"), nil)
	if err != nil || summary() != "Content three" {
		t.Fatalf("of equal shares: %q (%v)", summary(), err)
	}
}

func TestDidYouMean(t *testing.T) {
	r := running(t, memory.New())
	for _, name := range []string{"tumour-malignancy", "fuel-consumption", "iris-species-go", "iris-species-java"} {
		publish(t, r, name, name)
	}
	for asked, want := range map[string]string{
		"tumor-malignancy": "tumour-malignancy", "fuel-consumtpion": "fuel-consumption", "Iris-Species-Go": "iris-species-go",
	} {
		_, err := r.Get(t.Context(), asked)
		wantCode(t, err, modelmanager.CodeNotFound)
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v doesn't name %s", asked, err, want)
		}
	}
	_, err := r.Version(t.Context(), "fuel-consumption", 9)
	wantCode(t, err, modelmanager.CodeNotFound)
	_, err = r.Get(t.Context(), strings.Repeat("é", 1<<20))
	wantCode(t, err, modelmanager.CodeNotFound)
	if len(err.Error()) > 1000 {
		t.Errorf("the error is %d bytes long", len(err.Error()))
	}
}

func TestTimesOnlyGrow(t *testing.T) {
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r := registry.New(memory.New(), registry.Options{Now: func() time.Time {
		clock = clock.Add(-time.Hour) // a clock that goes backwards
		return clock
	}})
	publish(t, r, "a", "one")
	publish(t, r, "a", "two")
	for i := range 30 {
		if _, err := r.SetTraffic(t.Context(), "a", modelmanager.All(1+i%2), by("ana"), nil); err != nil {
			t.Fatal(err)
		}
	}
	model, err := r.Get(t.Context(), "a")
	if err != nil || len(model.History) != 20 {
		t.Fatalf("%d settings are kept (%v)", len(model.History), err)
	}
	for i := 1; i < len(model.History); i++ {
		if !model.History[i-1].At.After(model.History[i].At) {
			t.Fatalf("setting %d is from %v, the one before it from %v", i-1, model.History[i-1].At, model.History[i].At)
		}
	}
}
