package registry_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/registry/memory"
	"modelmanager.dev/internal/registry/registrytest"
)

// matches is what a query means, in the simplest way.
func matches(query registry.Query, model modelmanager.Model) bool {
	text := model.Name + " " + model.Summary + " " + model.Owner
	for _, value := range model.Labels {
		text += " " + value
	}
	for _, word := range strings.Fields(strings.ToLower(strings.ReplaceAll(query.Text, "\x00", " "))) {
		if !strings.Contains(strings.ToLower(text), word) {
			return false
		}
	}
	for key, value := range query.Labels {
		if got, found := model.Labels[key]; !found || got != value {
			return false
		}
	}
	return (query.Owner == "" || query.Owner == model.Owner) &&
		(query.Serve == "" || slices.Contains(model.Serve, query.Serve)) &&
		(query.Among == nil || slices.Contains(query.Among, model.Name)) && !slices.Contains(query.But, model.Name) &&
		(query.Retired || model.Retired == nil)
}

// all pages through a query.
func all(r *registry.Registry, query registry.Query) ([]string, error) {
	var names []string
	for {
		page, err := r.List(query)
		if err != nil {
			return nil, err
		}
		if query.Limit > 0 && len(page.Models) > query.Limit {
			return nil, fmt.Errorf("a page of %d, the limit is %d", len(page.Models), query.Limit)
		}
		for _, model := range page.Models {
			names = append(names, model.Name)
		}
		if page.NextPageToken == "" {
			return names, nil
		}
		query.PageToken = page.NextPageToken
	}
}

func drawModel(t *rapid.T, name string, latest int) modelmanager.Model {
	word := rapid.SampledFrom([]string{"risk", "Risk", "churn", "Größe", "ÉTÉ", "st-mary", "a", "x=y", ""})
	model := modelmanager.Model{
		Name:    name,
		Summary: strings.Join(rapid.SliceOfN(word, 0, 4).Draw(t, "summary"), rapid.SampledFrom([]string{" ", "-", "  ", "\u00a0", ", "}).Draw(t, "space")),
		Owner:   rapid.SampledFrom([]string{"ana@example.org", "Ben@example.org", ""}).Draw(t, "owner"),
		Serve:   rapid.SampledFrom([][]modelmanager.Mode{nil, {modelmanager.RealTime}, {modelmanager.Batch}, {modelmanager.Batch, modelmanager.RealTime}}).Draw(t, "serve"),
		Latest:  latest,
	}
	for range rapid.IntRange(0, 2).Draw(t, "labels") {
		if model.Labels == nil {
			model.Labels = map[string]string{}
		}
		model.Labels[rapid.SampledFrom([]string{"customer", "use"}).Draw(t, "key")] = word.Draw(t, "value")
	}
	if rapid.IntRange(0, 5).Draw(t, "retired") == 0 {
		model.Retired = &modelmanager.Change{By: "ana"}
	}
	return model
}

func drawQuery(t *rapid.T) registry.Query {
	part := rapid.SampledFrom([]string{"k-r", "k,", "-", "@", "ben@ex", "l-1", "ary", "risk", "RIS", "s", "st-m", "größe", "été", "ana", "example", "-1", "model-1", "x=", "nothing", "\x00", "ris\x00k"})
	query := registry.Query{
		Text:    strings.Join(rapid.SliceOfN(part, 0, 3).Draw(t, "text"), " "),
		Owner:   rapid.SampledFrom([]string{"", "", "ana@example.org", "nobody"}).Draw(t, "owner"),
		Serve:   rapid.SampledFrom([]modelmanager.Mode{"", modelmanager.RealTime, modelmanager.Batch}).Draw(t, "serve"),
		Retired: rapid.Bool().Draw(t, "retired too"),
		Limit:   rapid.IntRange(0, 7).Draw(t, "limit"),
	}
	if rapid.IntRange(0, 3).Draw(t, "by label") == 0 {
		query.Labels = map[string]string{"customer": rapid.SampledFrom([]string{"risk", "Risk", "", "x=y"}).Draw(t, "label")}
	}
	names := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("model-%d", rapid.IntRange(0, 45).Draw(t, "name")) }), 0, 20)
	switch rapid.IntRange(0, 4).Draw(t, "by name") {
	case 0:
		query.Among = append([]string{}, names.Draw(t, "among")...)
	case 1:
		query.But = names.Draw(t, "but")
	}
	return query
}

// tallied is what a tally is, in the simplest way.
func tallied(models []modelmanager.Model, most int) registry.Tally {
	tally := registry.Tally{Models: len(models)}
	counts := map[registry.Counted]int{}
	for _, model := range models {
		if model.Owner != "" {
			counts[registry.Counted{Value: model.Owner}]++
		}
		for name, value := range model.Labels {
			counts[registry.Counted{Name: name, Value: value}]++
		}
	}
	for what, models := range counts {
		what.Models = models
		if what.Name == "" {
			tally.Owners = append(tally.Owners, what)
		} else {
			tally.Labels = append(tally.Labels, what)
		}
	}
	for _, list := range []*[]registry.Counted{&tally.Owners, &tally.Labels} {
		slices.SortFunc(*list, func(a, b registry.Counted) int {
			return cmp.Or(b.Models-a.Models, strings.Compare(a.Name, b.Name), strings.Compare(a.Value, b.Value))
		})
		*list = (*list)[:min(len(*list), most)]
	}
	return tally
}

// TestListAgainstOracle puts random models into the index, changes them, and
// compares every query with a look at each model.
func TestListAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := memory.New()
		kept := map[string]modelmanager.Model{}
		put := func(latest int) {
			model := drawModel(t, fmt.Sprintf("model-%d", rapid.IntRange(0, 40).Draw(t, "number")), latest)
			kept[model.Name] = model
		}
		for range rapid.IntRange(0, 40).Draw(t, "models") {
			put(1)
		}
		x := registry.NewIndexed(store, maps.Values(kept))
		x.SetTrial(rapid.SampledFrom([]int{0, 1, 10, 1000}).Draw(t, "trial"))
		for i := range rapid.IntRange(0, 20).Draw(t, "changes") {
			put(i + 2)
			x.Put(kept)
		}
		for range 5 {
			query := drawQuery(t)
			var want []string
			var selected []modelmanager.Model
			for _, name := range slices.Sorted(maps.Keys(kept)) {
				if matches(query, kept[name]) {
					want = append(want, name)
					selected = append(selected, kept[name])
				}
			}
			most := rapid.IntRange(1, 6).Draw(t, "most")
			tally, err := x.Tally(query, most)
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(tallied(selected, most), tally, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("%+v (-want +got):\n%s", query, diff)
			}
			got, err := all(x.Registry, query)
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Fatalf("%+v (-want +got):\n%s", query, diff)
			}
		}
	})
}

func TestListRefusals(t *testing.T) {
	r := running(t, memory.New())
	for _, query := range []registry.Query{
		{PageToken: "%%%"}, {PageToken: "Li4vLi4"}, {Serve: "sometimes"},
		{Text: strings.Repeat("x", 1001)}, {Text: strings.Repeat("x ", 30)},
	} {
		_, err := r.List(query)
		wantCode(t, err, modelmanager.CodeBadRequest)
	}
	_, err := registry.New(memory.New(), registry.Options{}).List(registry.Query{})
	wantCode(t, err, modelmanager.CodeUnavailable)
}

// TestPagesHold: while models come and go, a walk through the pages meets
// each model that stays exactly once.
func TestPagesHold(t *testing.T) {
	r := running(t, memory.New())
	const stay = 60
	for i := range stay {
		publish(t, r, fmt.Sprintf("stay-%02d", i), "x")
	}
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			name := fmt.Sprintf("stay-%02d-extra", i%stay)
			if _, _, err := r.Publish(t.Context(), registrytest.Publication(name, "x")); err != nil {
				t.Error(err)
				return
			}
			if _, err := r.Retire(t.Context(), name, by("ana"), registry.ByCommit{}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 20 {
		names, err := all(r, registry.Query{Text: "stay", Limit: 3})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSorted(names) {
			t.Fatalf("not by name: %v", names)
		}
		names = slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, "-extra") })
		if len(slices.Compact(names)) != stay {
			t.Fatalf("the pages hold %d of the %d models that stay", len(names), stay)
		}
	}
	close(stop)
	group.Wait()
}

func TestSubscribe(t *testing.T) {
	store := memory.New()
	r := running(t, store)
	publish(t, r, "a", "one")
	var mu sync.Mutex
	states := map[string][]modelmanager.Model{}
	cancel := r.Subscribe(func(model modelmanager.Model) {
		mu.Lock()
		defer mu.Unlock()
		states[model.Name] = append(states[model.Name], model)
	})
	last := func(name string) modelmanager.Model {
		mu.Lock()
		defer mu.Unlock()
		if len(states[name]) == 0 {
			return modelmanager.Model{}
		}
		return states[name][len(states[name])-1]
	}
	if last("a").Latest != 1 {
		t.Fatal("what existed wasn't told")
	}
	// What this registry writes is told before the write returns.
	for i := range 30 {
		name := string(rune('a' + i%3))
		version := publish(t, r, name, fmt.Sprint(i))
		if last(name).Latest != version.Number {
			t.Fatalf("%s was told with latest %d after version %d", name, last(name).Latest, version.Number)
		}
		if _, err := r.SetTraffic(t.Context(), name, modelmanager.All(version.Number), by("ana"), nil); err != nil {
			t.Fatal(err)
		}
		if last(name).Traffic().Largest() != version.Number {
			t.Fatalf("%s was told with traffic %v after version %d", name, last(name).Traffic(), version.Number)
		}
	}
	cancel()
	publish(t, r, "d", "one")
	if last("d").Latest != 0 {
		t.Fatal("a cancelled subscription was told")
	}
	mu.Lock()
	defer mu.Unlock()
	for name, models := range states {
		for i := 1; i < len(models); i++ {
			if models[i].Latest < models[i-1].Latest || models[i].Traffic().At.Before(models[i-1].Traffic().At) {
				t.Fatalf("%s went back: %+v after %+v", name, models[i], models[i-1])
			}
		}
	}
}
