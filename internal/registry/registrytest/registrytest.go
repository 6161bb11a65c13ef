// Package registrytest holds the suite that every registry.Store passes.
package registrytest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
)

// Open opens the driver's store. Called again within one test, it opens the
// same medium: for a shared or lasting medium, what an earlier store wrote is
// there. The suite closes what it opens.
type Open func(t *testing.T) registry.Store

// Driver describes the driver under test.
type Driver struct {
	// New returns how to open one medium, empty at first.
	New func(t *testing.T) Open
	// Shared: several stores, open at once, share the medium, and what was
	// written outlives the store that wrote it.
	Shared bool
}

// Run runs the suite.
func Run(t *testing.T, driver Driver) {
	tests := map[string]func(*testing.T, Open){
		"ModelRoundTrip":      testModelRoundTrip,
		"CompareAndSwap":      testCompareAndSwap,
		"VersionRoundTrip":    testVersionRoundTrip,
		"VersionCreateOnly":   testVersionCreateOnly,
		"VersionsPaging":      testVersionsPaging,
		"Prune":               testPrune,
		"HostileNames":        testHostileNames,
		"LargeVersion":        testLargeVersion,
		"Aliasing":            testAliasing,
		"Cancelled":           testCancelled,
		"ConcurrentRecords":   testConcurrentRecords,
		"ConcurrentVersions":  testConcurrentVersions,
		"WatchExisting":       testWatchExisting,
		"WatchChanges":        testWatchChanges,
		"WatchOrder":          testWatchOrder,
		"WatchEnds":           testWatchEnds,
		"RegistryPublishers":  testRegistryPublishers,
		"RegistryOneContent":  testRegistryOneContent,
		"RegistryNameClaimed": testRegistryNameClaimed,
	}
	if driver.Shared {
		tests["Reopen"] = testReopen
		tests["WatchOtherStore"] = testWatchOtherStore
		tests["TwoStoresPublish"] = testTwoStoresPublish
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, closing(driver.New(t))) })
	}
}

// closing closes each store at the end of the test that opened it.
func closing(open Open) Open {
	return func(t *testing.T) registry.Store {
		t.Helper()
		store := open(t)
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Errorf("closing the store: %v", err)
			}
		})
		return store
	}
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// instant is a time as records keep it.
var instant = time.Date(2026, 3, 14, 15, 9, 26, 535897000, time.UTC)

func sampleModel(name string) modelmanager.Model {
	return modelmanager.Model{
		Name:       name,
		Summary:    "Wahrscheinlichkeit – 確率 🙂 \"quoted\" <b>&</b> \u2028 line",
		Owner:      "ångström@example.org",
		Labels:     map[string]string{"customer": "st-mary", "größe": "naïve=a=b"},
		Serve:      []modelmanager.Mode{modelmanager.Batch, modelmanager.RealTime},
		Repository: "https://git.example.org/models",
		Latest:     3,
		Created:    instant,
		History: []modelmanager.Traffic{
			{Versions: []modelmanager.Share{{Version: 3, Percent: 90}, {Version: 2, Percent: 10}}, Shadow: 1, Reason: "canary", By: "ana", At: instant.Add(time.Hour), Commit: "0123456789012345678901234567890123456789", Back: 2},
			{Versions: []modelmanager.Share{{Version: 2, Percent: 100}}, By: "ben", At: instant},
		},
	}
}

func sampleVersion(model string, number int) modelmanager.Version {
	return modelmanager.Version{
		Model: model, Number: number, Digest: "sha256:abc",
		Spec:     `{"name":"` + model + `","summary":"é\n\u0000 <&>"}`,
		Artifact: modelmanager.Artifact{Digest: "sha256:def", Archive: "artifacts/def", Size: 1 << 40},
		Source:   modelmanager.Source{Repository: "https://git.example.org/models", Commit: "c0ffee", Path: "a/b", Author: "Zoë"},
		Created:  instant, By: "ana", ApprovedBy: "ben",
	}
}

func wantCode(t *testing.T, err error, code modelmanager.Code) {
	t.Helper()
	if modelmanager.CodeOf(err) != code {
		t.Fatalf("got error %v of code %q, want code %q", err, modelmanager.CodeOf(err), code)
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

func testModelRoundTrip(t *testing.T, open Open) {
	ctx, store := testContext(t), open(t)
	_, revision, err := store.Model(ctx, "tumour-malignancy")
	wantCode(t, err, modelmanager.CodeNotFound)
	if revision != registry.None {
		t.Fatalf("an absent model has revision %q", revision)
	}
	want := sampleModel("tumour-malignancy")
	first := must[registry.Revision](t)(store.PutModel(ctx, want, registry.None))
	if first == registry.None {
		t.Fatal("a written model has no revision")
	}
	got, revision, err := store.Model(ctx, want.Name)
	if err != nil || revision != first {
		t.Fatalf("Model returned revision %q and %v, want %q", revision, err, first)
	}
	same(t, "model", got, want)

	want.Retired = &modelmanager.Change{By: "ana", At: instant, Reason: "replaced"}
	second := must[registry.Revision](t)(store.PutModel(ctx, want, first))
	if second == first {
		t.Fatal("another state has the same revision")
	}
	got, _, err = store.Model(ctx, want.Name)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "retired model", got, want)
}

func testCompareAndSwap(t *testing.T, open Open) {
	ctx, store := testContext(t), open(t)
	model := sampleModel("a")
	first := must[registry.Revision](t)(store.PutModel(ctx, model, registry.None))
	_, err := store.PutModel(ctx, model, registry.None)
	wantCode(t, err, modelmanager.CodeConflict)

	changed := model
	changed.Latest = 4
	must[registry.Revision](t)(store.PutModel(ctx, changed, first))
	stale := model
	stale.Latest = 99
	_, err = store.PutModel(ctx, stale, first)
	wantCode(t, err, modelmanager.CodeConflict)
	_, err = store.PutModel(ctx, sampleModel("b"), first)
	wantCode(t, err, modelmanager.CodeConflict)
	got, _, err := store.Model(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "model after refused writes", got, changed)
	_, _, err = store.Model(ctx, "b")
	wantCode(t, err, modelmanager.CodeNotFound)
}

func testVersionRoundTrip(t *testing.T, open Open) {
	ctx, store := testContext(t), open(t)
	_, err := store.Version(ctx, "a", 1)
	wantCode(t, err, modelmanager.CodeNotFound)
	want := sampleVersion("a", 7)
	if err := store.CreateVersion(ctx, want); err != nil {
		t.Fatal(err)
	}
	same(t, "version", must[modelmanager.Version](t)(store.Version(ctx, "a", 7)), want)
	for _, number := range []int{-1, 0, 6, 8} {
		_, err := store.Version(ctx, "a", number)
		wantCode(t, err, modelmanager.CodeNotFound)
	}
}

func testVersionCreateOnly(t *testing.T, open Open) {
	ctx, store := testContext(t), open(t)
	want := sampleVersion("a", 1)
	if err := store.CreateVersion(ctx, want); err != nil {
		t.Fatal(err)
	}
	other := want
	other.Digest = "sha256:other"
	wantCode(t, store.CreateVersion(ctx, other), modelmanager.CodeConflict)
	wantCode(t, store.CreateVersion(ctx, want), modelmanager.CodeConflict)
	same(t, "version", must[modelmanager.Version](t)(store.Version(ctx, "a", 1)), want)
}

func testVersionsPaging(t *testing.T, open Open) {
	ctx, store := testContext(t), open(t)
	same(t, "versions of an unknown model",
		must[[]modelmanager.Version](t)(store.Versions(ctx, "a", 0, 10)), []modelmanager.Version(nil))
	for _, number := range []int{1, 2, 10, 9, 100, 3} {
		if err := store.CreateVersion(ctx, sampleVersion("a", number)); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.CreateVersion(ctx, sampleVersion("ab", 5)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		before, limit int
		want          []int
	}{
		{0, 10, []int{100, 10, 9, 3, 2, 1}}, {0, 2, []int{100, 10}}, {10, 2, []int{9, 3}},
		{3, 10, []int{2, 1}}, {1, 10, nil}, {50, 3, []int{10, 9, 3}},
	} {
		var got []int
		for _, version := range must[[]modelmanager.Version](t)(store.Versions(ctx, "a", test.before, test.limit)) {
			got = append(got, version.Number)
			same(t, "version", version, sampleVersion("a", version.Number))
		}
		same(t, "numbers", got, test.want)
	}
}

func testPrune(t *testing.T, open Open) {
	ctx, store := testContext(t), open(t)
	r := registry.New(store, registry.Options{})
	const versions = registry.KeptVersions + 5
	for n := range versions {
		must[modelmanager.Version](t)(publish(ctx, r, "a", fmt.Sprint(n)))
		must[modelmanager.Version](t)(publish(ctx, r, "a-1", fmt.Sprint(n)))
	}
	must[modelmanager.Model](t)(r.SetTraffic(ctx, "a", modelmanager.All(3), modelmanager.Change{}, nil))
	dropped := must[[]int](t)(r.Prune(ctx, "a", func(context.Context) (map[int]bool, error) { return nil, nil }))
	same(t, "dropped", dropped, []int{2, 4, 5})
	if err := store.DeleteVersion(ctx, "a", 2); err != nil {
		t.Fatalf("removing a version that is gone: %v", err)
	}
	var left []int
	for before := 0; ; before = left[len(left)-1] {
		page := must[[]modelmanager.Version](t)(r.Versions(ctx, "a", before, 7))
		for _, version := range page {
			left = append(left, version.Number)
		}
		if len(page) < 7 {
			break
		}
	}
	want := []int{3, 1}
	for n := 6; n <= versions; n++ {
		want = slices.Insert(want, 0, n)
	}
	same(t, "left", left, want)
	other := must[[]modelmanager.Version](t)(r.Versions(ctx, "a-1", 0, 100))
	if len(other) != versions {
		t.Fatalf("%d versions of another model are left", len(other))
	}
	if next := must[modelmanager.Version](t)(publish(ctx, r, "a", "next")); next.Number != versions+1 {
		t.Fatalf("the next version is %d", next.Number)
	}
}

func publish(ctx context.Context, r *registry.Registry, model, content string) (modelmanager.Version, error) {
	version, _, err := r.Publish(ctx, Publication(model, content))
	return version, err
}

func testHostileNames(t *testing.T, open Open) {
	ctx, store := testContext(t), open(t)
	for _, name := range []string{"", ".", "..", "../a", "a/b", "/etc/passwd", "a\x00b", "A", "é", "a b", "-a", strings.Repeat("a", 41), strings.Repeat("a", 1<<16)} {
		model := sampleModel(name)
		if _, err := store.PutModel(ctx, model, registry.None); err == nil {
			t.Errorf("a model named %.50q was written", name)
		}
		if err := store.CreateVersion(ctx, sampleVersion(name, 1)); err == nil {
			t.Errorf("a version of a model named %.50q was written", name)
		}
		_, _, err := store.Model(ctx, name)
		wantCode(t, err, modelmanager.CodeNotFound)
		_, err = store.Version(ctx, name, 1)
		wantCode(t, err, modelmanager.CodeNotFound)
	}
	longest := strings.Repeat("a", 40)
	must[registry.Revision](t)(store.PutModel(ctx, sampleModel(longest), registry.None))
}

func testLargeVersion(t *testing.T, open Open) {
	ctx, store := testContext(t), open(t)
	want := sampleVersion("a", 1)
	want.Spec = `{"name":"a","summary":"` + strings.Repeat("x", registry.MaxSpec-25) + `"}`
	if err := store.CreateVersion(ctx, want); err != nil {
		t.Fatal(err)
	}
	same(t, "version", must[modelmanager.Version](t)(store.Version(ctx, "a", 1)), want)
}

func testAliasing(t *testing.T, open Open) {
	ctx, store := testContext(t), open(t)
	given := sampleModel("a")
	must[registry.Revision](t)(store.PutModel(ctx, given, registry.None))
	given.Labels["customer"] = "changed"
	given.History[0].Versions[0].Percent = 1
	got, _, err := store.Model(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	got.Labels["customer"] = "changed too"
	got.History[0].By = "changed"
	again, _, err := store.Model(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "model", again, sampleModel("a"))
}

func testCancelled(t *testing.T, open Open) {
	store := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.PutModel(ctx, sampleModel("a"), registry.None); err == nil {
		t.Error("PutModel ignored a cancelled context")
	}
	if err := store.CreateVersion(ctx, sampleVersion("a", 1)); err == nil {
		t.Error("CreateVersion ignored a cancelled context")
	}
	if err := store.Watch(ctx, func(registry.Event) {}); err == nil {
		t.Error("Watch ignored a cancelled context")
	}
	_, _, err := store.Model(testContext(t), "a")
	wantCode(t, err, modelmanager.CodeNotFound)
}

func testReopen(t *testing.T, open Open) {
	ctx, first := testContext(t), open(t)
	revision := must[registry.Revision](t)(first.PutModel(ctx, sampleModel("a"), registry.None))
	if err := first.CreateVersion(ctx, sampleVersion("a", 1)); err != nil {
		t.Fatal(err)
	}
	second := open(t)
	got, again, err := second.Model(ctx, "a")
	if err != nil || again != revision {
		t.Fatalf("reopened: revision %q and %v, want %q", again, err, revision)
	}
	same(t, "model", got, sampleModel("a"))
	same(t, "version", must[modelmanager.Version](t)(second.Version(ctx, "a", 1)), sampleVersion("a", 1))
	wantCode(t, second.CreateVersion(ctx, sampleVersion("a", 1)), modelmanager.CodeConflict)
}
