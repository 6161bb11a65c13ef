package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/registry/memory"
	"modelmanager.dev/internal/spec"
)

var (
	places    = []string{"north", "south", "east", "west", "upper", "lower", "new", "old", "great", "little"}
	stems     = []string{"ash", "birch", "cedar", "elm", "hazel", "linden", "maple", "oak", "pine", "rowan"}
	endings   = []string{"field", "ford", "ton", "ham", "bury", "wick", "ville", "dale", "stead", "bridge"}
	questions = []string{"readmission", "churn", "length-of-stay", "no-show", "sepsis-risk", "fall-risk", "fraud", "default-risk", "staffing", "demand"}
)

func customer(i int) string { return places[i%10] + "-" + stems[i/10%10] + endings[i/100%10] }

func name(i int) string {
	return fmt.Sprintf("%s-%s-%d", customer(i), questions[i/1000%10], i/10_000+1)
}

// Of the models, one in longEach has many versions, with as many settings of
// traffic; of one in cardEach the folder has a README.
const (
	longEach     = 100
	longVersions = 20
	cardEach     = 5
	cards        = 500 // archives that have one, more than the server remembers
)

// The models by name that jobs are of, and the one that is wide.
var (
	jobModel   = name(longEach)
	stuckModel = name(3 * longEach) // never answers a job
)

const (
	wideName     = "wide"
	wideFeatures = 300
	wideColumns  = 500 // of its file
)

// versionsOf is how many versions a model has.
func versionsOf(i int) int {
	if i%longEach == 0 {
		return longVersions
	}
	return 1
}

// awake are the versions of a model that run: of half of those with many
// versions two, and of some with one that one. Of 150,000 models it is 2,000
// versions.
func awake(i int) []int {
	switch {
	case i%(2*longEach) == 0:
		return []int{longVersions - 1, longVersions}
	case i%(3*longEach) == 3*longEach/2:
		return []int{1}
	}
	return nil
}

// How a version loads, and answers, in its params.
const (
	loads       = "loads"
	loadsNever  = "never"
	loadsNot    = "not"  // fails
	loadsOnce   = "once" // its second replica fails
	answers     = "answers"
	answersJobs = "never"
)

// fill makes models of a thousand customers, the last of them wide, and returns
// the versions that shall run.
func fill(ctx context.Context, store *memory.Store, models int) ([]platform.Ref, error) {
	var run []platform.Ref
	for i := range models - 1 {
		if err := publish(ctx, store, i, versionsOf(i), func(version int) *spec.Spec { return usual(i, version) }); err != nil {
			return nil, err
		}
		for _, version := range awake(i) {
			run = append(run, platform.Ref{Model: name(i), Version: version})
		}
	}
	return run, publish(ctx, store, models-1, longVersions, wide)
}

// publish puts a model's versions into the store, and its traffic: the versions
// took it one after the other, and the last two share it.
func publish(ctx context.Context, store *memory.Store, i, versions int, specOf func(version int) *spec.Spec) error {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	model := modelmanager.Model{Latest: versions, Created: at}
	for number := 1; number <= versions; number++ {
		s := specOf(number)
		canonical, err := s.Canonical()
		if err != nil {
			return err
		}
		version := modelmanager.Version{
			Model: s.Name, Number: number, Digest: fmt.Sprintf("sha256:%064x", i*longVersions+number), Spec: canonical, Created: at, By: s.Owner,
			Artifact: modelmanager.Artifact{Digest: fmt.Sprintf("sha256:%064x", i%cards), Archive: archiveKey(i % cards), Size: 20_000},
			Source:   modelmanager.Source{Repository: "https://git.example.org/models", Commit: fmt.Sprintf("%040x", i*longVersions+number), Path: s.Name, Author: s.Owner},
		}
		if err := store.CreateVersion(ctx, version); err != nil {
			return err
		}
		traffic := modelmanager.All(number)
		if number > 1 && number == versions {
			traffic.Versions = []modelmanager.Share{{Version: number - 1, Percent: 90}, {Version: number, Percent: 10}}
		}
		traffic.At, traffic.By, traffic.Reason = at, s.Owner, fmt.Sprintf("version %d looks better on what came last month", number)
		model.History = append([]modelmanager.Traffic{traffic}, model.History...)
		model.Name, model.Summary, model.Owner, model.Labels, model.Serve = s.Name, s.Summary, s.Owner, s.Labels, s.Serve
		at = at.Add(24 * time.Hour)
	}
	_, err := store.PutModel(ctx, model, "")
	return err
}

// usual is the spec of one of the many models.
func usual(i, version int) *spec.Spec {
	s := base(name(i), version)
	s.Summary = fmt.Sprintf("Probability of %s within thirty days (cohort %d)", questions[i/1000%10], i%997)
	s.Owner = fmt.Sprintf("team-%d@example.org", i%40)
	s.Labels = map[string]string{"customer": customer(i), "use": questions[i%10]}
	switch running := len(awake(i)) > 0; {
	case !running && i%longEach != 0 && i%7 == 0:
		s.Serve = []modelmanager.Mode{modelmanager.RealTime}
	case !running && i%longEach != 0 && i%7 == 1:
		s.Serve = []modelmanager.Mode{modelmanager.Batch}
	}
	if i%cardEach == 0 {
		s.Card = cardName
	}
	for n := range 4 + version/10 {
		s.Features = append(s.Features, feature(n, version))
	}
	s.Examples = []spec.Example{example(s, "usual", 1), example(s, "another", 2)}
	switch {
	case s.Name == stuckModel:
		s.Params = map[string]any{answers: answersJobs}
	case i/50%10 == 0:
		s.Params = map[string]any{loads: loadsNot}
	case i/50%10 == 1:
		s.Params = map[string]any{loads: loadsNever}
	case i/50%10 == 2:
		s.Params = map[string]any{loads: loadsOnce}
		if len(awake(i)) > 0 {
			s.Scale.Min = 2 // or the scaler would take the one that fails away
		}
	}
	return s
}

// wide is the spec of the one with many features. Each version has one more.
func wide(version int) *spec.Spec {
	s := base(wideName, version)
	s.Summary, s.Owner, s.Card = "Everything that is known of a stay, in one table", "team-1@example.org", cardName
	s.Labels = map[string]string{"customer": customer(1), "use": "everything"}
	for n := range wideFeatures - longVersions + version {
		s.Features = append(s.Features, feature(n, version))
	}
	for n := range 12 {
		s.Predictions = append(s.Predictions, modelmanager.Field{Name: fmt.Sprintf("risk_%d", n+1), Type: modelmanager.Number})
	}
	for n := range 5 {
		s.Examples = append(s.Examples, example(s, fmt.Sprintf("stay %d", n+1), n))
	}
	return s
}

// base has what all specs have, with the defaults of a model.yaml.
func base(name string, version int) *spec.Spec {
	return &spec.Spec{
		Name: name, Serve: []modelmanager.Mode{modelmanager.RealTime, modelmanager.Batch}, Rows: spec.Independent,
		Predictions: []modelmanager.Field{
			{Name: "risk", Type: modelmanager.Number, Minimum: new(0.0), Maximum: new(1.0), Description: "Probability, calibrated on last year's stays"},
			{Name: "band", Type: modelmanager.String, Enum: []any{"low", "middle", "high"}},
		},
		Run:       spec.Run{Command: []string{"./run"}},
		Resources: spec.Resources{CPU: 500, Memory: 512 << 20, Disk: 1 << 30},
		Timeouts:  spec.Timeouts{Start: spec.Duration(time.Hour), Predict: spec.Duration(30 * time.Second)},
		Scale:     spec.Scale{Max: 10, Concurrency: 8, Idle: spec.Duration(time.Hour)},
		Batch:     spec.Batch{RowsPerShard: 1000, RowsPerCall: 1000, Parallelism: 20, Timeout: spec.Duration(2 * time.Hour), Retries: 3},
		Rollout:   spec.Rollout{Strategy: "manual"},
		Training:  map[string]any{"rows": 120_000 + version, "metrics": map[string]any{"auc": 0.7 + float64(version)/100, "brier": 0.2 - float64(version)/200}},
	}
}

// feature is the n-th, of every type in turns; its range grows with the version.
func feature(n, version int) modelmanager.Field {
	field := modelmanager.Field{Name: fmt.Sprintf("%s_%03d", []string{"age", "ward", "visits", "urgent"}[n%4], n), Description: fmt.Sprintf("As measured at admission, or the last one before it (item %d)", n)}
	switch n % 4 {
	case 0:
		field.Type, field.Unit, field.Minimum, field.Maximum = modelmanager.Number, "years", new(0.0), new(float64(120+version))
	case 1:
		field.Type, field.Enum = modelmanager.String, []any{"surgery", "medicine", "paediatrics", "maternity", "other"}
	case 2:
		field.Type, field.Nullable = modelmanager.Integer, true
	case 3:
		field.Type = modelmanager.Boolean
	}
	return field
}

// value is a row's value of a feature, as JSON.
func value(field modelmanager.Field, row int) json.RawMessage {
	switch field.Type {
	case modelmanager.Number:
		return json.RawMessage(fmt.Sprintf("%.1f", float64(row%1000)/10))
	case modelmanager.String:
		return json.RawMessage(fmt.Sprintf("%q", field.Enum[row%len(field.Enum)]))
	case modelmanager.Integer:
		return json.RawMessage(fmt.Sprint(row % 50))
	}
	return json.RawMessage(fmt.Sprint(row%2 == 0))
}

func example(s *spec.Spec, name string, row int) spec.Example {
	example := spec.Example{Name: name, Features: map[string]json.RawMessage{}}
	for _, field := range s.Features {
		example.Features[field.Name] = value(field, row)
	}
	return example
}
