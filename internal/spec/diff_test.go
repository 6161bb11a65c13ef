package spec

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"modelmanager.dev"
)

func full(t *testing.T) *Spec {
	t.Helper()
	data, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse("model.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDiff(t *testing.T) {
	data, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, old, new string
		want           []string
	}{
		{"nothing", "name", "name", nil},
		{"feature removed", "  - {name: history, type: array, items: {type: number, minimum: 0}, max_items: 12, default: []}\n", "", []string{"! removed features.history: the feature history was removed"}},
		{"feature added", "predictions:\n", "  - {name: age, type: integer}\npredictions:\n", []string{"! added features.age: the feature age is new and required"}},
		{"feature with default", "predictions:\n", "  - {name: age, type: integer, default: 3}\npredictions:\n", []string{"! added features.age: the feature age is new; calls may leave it out (3 is taken), but files need its column, since it is not optional"}},
		{"optional feature", "predictions:\n", "  - {name: age, type: integer, default: 3, optional: true}\npredictions:\n", []string{"  added features.age: the feature age is new, with the default 3"}},
		{"retyped", "mean_radius, type: number, minimum: 0, unit: mm", "mean_radius, type: string, unit: mm", []string{"! retyped features.mean_radius.type: the feature mean_radius is string now, not number"}},
		{"unit", "unit: mm", "unit: cm", []string{`! changed features.mean_radius.unit: the feature mean_radius has the unit "cm" now, not "mm"`}},
		{"narrower", "minimum: 0, unit", "minimum: 1, unit", []string{"! narrowed features.mean_radius.minimum: the feature mean_radius has minimum 1 now, not 0"}},
		{"wider", "minimum: 0, unit", "minimum: -1, unit", []string{"  widened features.mean_radius.minimum: the feature mean_radius has minimum -1 now, not 0"}},
		{"enum", "enum: [left, right]", "enum: [both, left]", []string{
			`! narrowed features.laterality.enum: the feature laterality no longer allows "right"`,
			`  widened features.laterality.enum: the feature laterality allows "both" now`}},
		{"enum order", "enum: [left, right]", "enum: [right, left]", []string{"  reordered features.laterality.enum: the feature laterality has its enum in another order: the levels in the worker are in another order too"}},
		{"nullable", "enum: [left, right], nullable: true", "enum: [left, right]", []string{"! narrowed features.laterality.nullable: the feature laterality no longer allows null"}},
		{"prediction wider", "maximum: 1}", "maximum: 100}", []string{"! widened predictions.probability.maximum: the prediction probability has maximum 100 now, not 1"}},
		{"prediction labels", "labels: [a, b, c]", "labels: [a, b, d]", []string{`! changed predictions.classes.labels: the prediction classes has the labels ["a","b","d"] now, not ["a","b","c"]: its columns in CSV files are named so`}},
		{"params", "threshold: 0.4", "threshold: 0.5", []string{"  changed params.threshold: params.threshold changed from 0.4 to 0.5"}},
		{"memory", "memory: 512Mi", "memory: 2Gi", []string{`  changed resources.memory: resources.memory changed from "512Mi" to "2Gi"`}},
		{"items", "items: {type: number, minimum: 0}", "items: {type: number, minimum: 2}", []string{"! narrowed features.history.items.minimum: an item of the feature history has minimum 2 now, not 0"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Replace(string(data), test.old, test.new, 1)
			text, _, _ = strings.Cut(text, "examples:")
			text += "extends: x\n" // so that examples, which would have to change too, may lack
			to, err := Parse("model.yaml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			to.Examples = full(t).Examples
			var got []string
			for _, change := range Diff(full(t), to) {
				mark := "  "
				if change.Breaking {
					mark = "! "
				}
				got = append(got, mark+string(change.Kind)+" "+change.Path+": "+change.Message)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestDiffOfMultiples: what allows more breaks those who read predictions, what
// allows less those who send features.
func TestDiffOfMultiples(t *testing.T) {
	const none = 0
	for _, test := range []struct {
		from, to                  float64
		kind                      ChangeKind
		breaksFeature, breaksRead bool
	}{
		{10, 10, "", false, false},
		{10, 5, Widened, false, true},
		{5, 10, Narrowed, true, false},
		{0.3, 0.1, Widened, false, true}, // binary fractions that don't divide each other
		{0.1, 0.3, Narrowed, true, false},
		{0.01, 0.07, Narrowed, true, false},
		{1e22, 1e-7, Widened, false, true},
		{10, 4, Changed, true, true},
		{4, 10, Changed, true, true},
		{10, 7.5, Changed, true, true},
		{none, 5, Narrowed, true, false},
		{5, none, Widened, false, true},
	} {
		field := func(multiple float64) []modelmanager.Field {
			f := modelmanager.Field{Name: "x", Type: modelmanager.Number}
			if multiple != none {
				f.MultipleOf = &multiple
			}
			return []modelmanager.Field{f}
		}
		for role, breaks := range map[string]bool{"features": test.breaksFeature, "predictions": test.breaksRead} {
			from, to := full(t), full(t)
			if role == "features" {
				from.Features, to.Features = field(test.from), field(test.to)
			} else {
				from.Predictions, to.Predictions = field(test.from), field(test.to)
			}
			changes := Diff(from, to)
			switch {
			case test.kind == "" && len(changes) == 0:
			case len(changes) != 1 || changes[0].Kind != test.kind || changes[0].Breaking != breaks || changes[0].Path != role+".x.multipleOf":
				t.Errorf("%s, from %v to %v: %+v", role, test.from, test.to, changes)
			}
		}
	}
}

// TestDiffProperties: a spec doesn't differ from itself; others do, in both
// directions, and always with the same words.
func TestDiffProperties(t *testing.T) {
	base := full(t)
	rapid.Check(t, func(r *rapid.T) {
		draw := func(label string) *Spec {
			text, _ := base.Canonical()
			s, _ := FromCanonical(text)
			s.Features = slices.Delete(s.Features, 0, rapid.IntRange(0, 3).Draw(r, label+" dropped"))
			for i := range s.Features {
				s.Features[i].Nullable = rapid.Bool().Draw(r, label+" nullable")
			}
			if rapid.Bool().Draw(r, label+" labels") {
				s.Labels["x"] = rapid.SampledFrom([]string{"1", "2"}).Draw(r, label+" label")
			}
			s.Resources.CPU = rapid.Int64Range(1, 5).Draw(r, label+" cpu")
			return s
		}
		a, b := draw("a"), draw("b")
		left, _ := a.Canonical()
		right, _ := b.Canonical()
		changes := Diff(a, b)
		if (left == right) != (len(changes) == 0) || (len(changes) == 0) != (len(Diff(b, a)) == 0) {
			r.Fatalf("%v", changes)
		}
		if diff := cmp.Diff(changes, Diff(a, b)); diff != "" {
			r.Fatal(diff)
		}
	})
}

// TestMergeProperties: a template under nothing is itself, a model over its own
// template changes nothing, and merging in two steps is merging in one.
func TestMergeProperties(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		value := func(label string) map[string]any {
			object := map[string]any{}
			for _, key := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"labels", "env", "scale", "features", "summary"}), rapid.ID[string]).Draw(r, label) {
				object[key] = rapid.SampledFrom([]any{"x", []any{"a"}, map[string]any{"a": "1"}, map[string]any{"b": "2", "c": map[string]any{"d": "3"}}, map[string]any{"a": "4"}}).Draw(r, label+" "+key)
			}
			return object
		}
		a, b, c := jsonNode(value("a")), jsonNode(value("b")), jsonNode(value("c"))
		same := func(what string, x, y *node) {
			if diff := cmp.Diff(plain(x), plain(y)); diff != "" {
				r.Fatalf("%s:\n%s", what, diff)
			}
		}
		same("under nothing", mergeSpecs(a, jsonNode(map[string]any{})), a)
		same("over nothing", mergeSpecs(jsonNode(map[string]any{}), a), a)
		same("over itself", mergeSpecs(a, a), a)
		list := func(n *node) bool { return n != nil && n.kind != kindObject }
		for _, key := range []string{"labels", "env", "scale", "features", "summary"} {
			if list(b.get(key)) {
				return // a value between two mappings hides the first: not associative
			}
		}
		same("in steps", mergeSpecs(mergeSpecs(a, b), c), mergeSpecs(a, mergeSpecs(b, c)))
	})
}
