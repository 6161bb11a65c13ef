package registry_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/registry/memory"
	"modelmanager.dev/internal/registry/registrytest"
)

// oracle says what a model should be, in the simplest way: its contents by
// number, and its settings as a line of undo steps.
type oracle struct {
	contents []string // by number, from 1
	settings []modelmanager.Traffic
	retired  bool
	changes  int // settings made; beyond the history's length old ones may be gone
}

func (o *oracle) live() modelmanager.Traffic {
	if o.retired || len(o.settings) == 0 {
		return modelmanager.Traffic{}
	}
	return o.settings[len(o.settings)-1]
}

// machine runs random operations against a registry and the oracle.
type machine struct {
	registry *registry.Registry
	models   map[string]*oracle
}

var machineNames = []string{"alpha", "beta"}

func TestRulesAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{registry: registry.New(memory.New(), registry.Options{}), models: map[string]*oracle{}}
		t.Repeat(map[string]func(*rapid.T){
			"publish":  m.publish,
			"traffic":  m.traffic,
			"rollback": m.rollback,
			"retire":   m.retire,
			"":         m.check,
		})
	})
}

func (m *machine) pick(t *rapid.T) (string, *oracle) {
	name := rapid.SampledFrom(machineNames).Draw(t, "model")
	return name, m.models[name]
}

func (m *machine) publish(t *rapid.T) {
	name, o := m.pick(t)
	content := strconv.Itoa(rapid.IntRange(0, 8).Draw(t, "content"))
	version, created, err := m.registry.Publish(context.Background(), registrytest.Publication(name, content))
	if err != nil {
		t.Fatal(err)
	}
	if o == nil {
		o = &oracle{}
		m.models[name] = o
	}
	known := slices.Index(o.contents, content)
	if known < 0 {
		o.contents = append(o.contents, content)
		known = len(o.contents) - 1
		if !created {
			t.Fatalf("new content %s isn't new", content)
		}
	} else if created {
		t.Fatalf("known content %s is new", content)
	}
	if version.Number != known+1 {
		t.Fatalf("content %s became version %d, want %d", content, version.Number, known+1)
	}
	if o.retired {
		o.retired = false
		o.changes++
		o.settings = append(o.settings, modelmanager.Traffic{})
	}
}

func (m *machine) traffic(t *rapid.T) {
	name, o := m.pick(t)
	first := rapid.IntRange(1, 6).Draw(t, "version")
	second := rapid.IntRange(1, 6).Draw(t, "second version")
	percent := rapid.IntRange(0, 100).Draw(t, "percent")
	traffic := modelmanager.Traffic{Versions: []modelmanager.Share{{Version: first, Percent: percent}, {Version: second, Percent: 100 - percent}}}
	if percent == 100 && rapid.Bool().Draw(t, "alone") {
		traffic = modelmanager.All(first)
	}
	_, err := m.registry.SetTraffic(context.Background(), name, traffic, modelmanager.Change{}, nil)
	want := modelmanager.Code("")
	switch {
	case first == second && len(traffic.Versions) == 2:
		want = modelmanager.CodeBadRequest
	case o == nil || first > len(o.contents) || len(traffic.Versions) == 2 && second > len(o.contents):
		want = modelmanager.CodeNotFound
	case o.retired:
		want = modelmanager.CodeRetired
	}
	if modelmanager.CodeOf(err) != want {
		t.Fatalf("setting %v: %v, want code %q", traffic, err, want)
	}
	if err == nil && describeTraffic(traffic) != describeTraffic(o.live()) {
		o.settings = append(o.settings, traffic)
		o.changes++
	}
}

func (m *machine) rollback(t *rapid.T) {
	name, o := m.pick(t)
	_, err := m.registry.Rollback(context.Background(), name, modelmanager.Change{}, nil)
	if o == nil || o.retired {
		want := modelmanager.CodeNotFound
		if o != nil {
			want = modelmanager.CodeRetired
		}
		if modelmanager.CodeOf(err) != want {
			t.Fatalf("rolling back: %v, want code %q", err, want)
		}
		return
	}
	before := len(o.settings) - 2
	for before >= 0 && len(o.settings[before].Versions) == 0 {
		before--
	}
	if modelmanager.CodeOf(err) == modelmanager.CodeConflict && (before < 0 || o.changes > 20) {
		return
	}
	if err != nil || before < 0 {
		t.Fatalf("rolling back to setting %d: %v", before, err)
	}
	o.settings = o.settings[:before+1]
	o.changes++
}

func (m *machine) retire(t *rapid.T) {
	name, o := m.pick(t)
	if rapid.IntRange(0, 3).Draw(t, "really") > 0 {
		return
	}
	_, err := m.registry.Retire(context.Background(), name, modelmanager.Change{}, registry.ByCommit{})
	if o == nil {
		if modelmanager.CodeOf(err) != modelmanager.CodeNotFound {
			t.Fatalf("retiring an unknown model: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if !o.retired {
		o.retired = true
		o.changes++
		o.settings = append(o.settings, modelmanager.Traffic{})
	}
}

func (m *machine) check(t *rapid.T) {
	active := 0
	for _, o := range m.models {
		if !o.retired {
			active++
		}
	}
	if count := m.registry.Count(); count != active {
		t.Fatalf("%d models are counted, and %d aren't retired", count, active)
	}
	for _, name := range machineNames {
		o := m.models[name]
		model, err := m.registry.Get(context.Background(), name)
		switch {
		case o == nil:
			if modelmanager.CodeOf(err) != modelmanager.CodeNotFound {
				t.Fatalf("%s was never published: %v", name, err)
			}
			continue
		case o.retired != (modelmanager.CodeOf(err) == modelmanager.CodeRetired), !o.retired && err != nil:
			t.Fatalf("%s is retired: %t, and Get says %v", name, o.retired, err)
		}
		if model.Latest != len(o.contents) {
			t.Fatalf("%s has latest %d, want %d", name, model.Latest, len(o.contents))
		}
		if got, want := describeTraffic(model.Traffic()), describeTraffic(o.live()); got != want {
			t.Fatalf("%s answers %s, want %s", name, got, want)
		}
		if len(model.History) != min(o.changes, 20) {
			t.Fatalf("%s keeps %d settings of %d", name, len(model.History), o.changes)
		}
		if largest := o.live().Largest(); largest > 0 && model.Summary != "Content "+o.contents[largest-1] {
			t.Fatalf("%s says %q, and answers with version %d", name, model.Summary, largest)
		}
	}
}

func describeTraffic(traffic modelmanager.Traffic) string {
	var shares []string
	for _, share := range traffic.Versions {
		shares = append(shares, fmt.Sprintf("%d:%d", share.Version, share.Percent))
	}
	slices.Sort(shares)
	return strings.Join(shares, " ")
}
