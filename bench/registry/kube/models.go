package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/spec"
)

var (
	questions = []string{"readmission", "churn", "no-show", "sepsis-risk", "propensity", "demand", "fraud", "default-risk", "stock-out", "triage"}
	stems     = []string{"ash", "birch", "cedar", "elm", "hazel", "linden", "maple", "oak", "pine", "rowan"}
	endings   = []string{"field", "ford", "ton", "ham", "bury", "wick", "ville", "dale", "stead", "bridge"}
	teams     = []string{"oncology", "cardiology", "operations", "finance", "marketing", "logistics"}
	phrases   = []string{"within thirty days of discharge", "in the coming quarter", "for each open case", "per ward and day", "by product group"}
)

// specOf makes model i's spec: some 2.7 KB of JSON.
func specOf(i int) *spec.Spec {
	r := rand.New(rand.NewPCG(uint64(i), 2026))
	pick := func(words []string) string { return words[r.IntN(len(words))] }
	question, team, zero, hundred := pick(questions), pick(teams), 0.0, 100.0
	s := &spec.Spec{
		Name:    fmt.Sprintf("%s%s-%s-%d", stems[i%10], endings[i/10%10], question, i),
		Summary: fmt.Sprintf("Probability of %s %s, %s (cohort %d)", question, pick(phrases), pick(phrases), r.IntN(1000)),
		Owner:   fmt.Sprintf("%s-%d@example.org", team, r.IntN(40)),
		Labels:  map[string]string{"customer": stems[i%10] + endings[i/10%10], "use": "planning", "team": team},
		Serve:   []modelmanager.Mode{modelmanager.RealTime, modelmanager.Batch},
		Rows:    spec.Independent,
		Run:     spec.Run{Python: "predict.py:predict"},
	}
	for feature := range 16 {
		s.Features = append(s.Features, modelmanager.Field{
			Name: fmt.Sprintf("measure_%02d", feature), Type: modelmanager.Number, Minimum: &zero, Maximum: &hundred, Unit: "mg/l",
			Description: fmt.Sprintf("Mean of the last %d readings of the day", r.IntN(100)), Nullable: feature%4 == 0,
		})
	}
	s.Predictions = []modelmanager.Field{{Name: "probability", Type: modelmanager.Number, Minimum: &zero}}
	return s
}

func publicationOf(s *spec.Spec, content string) registry.Publication {
	digest := registry.Digest(s.Name, content)
	return registry.Publication{
		Spec:     s,
		Artifact: modelmanager.Artifact{Digest: digest, Image: "registry.example.org/models/" + s.Name + "@" + digest, Size: 81234567},
		Source: modelmanager.Source{
			Repository: "https://git.example.org/" + s.Labels["team"] + "/models", Commit: digest[7:47], Path: "models/" + s.Name, Tree: digest, Author: "ana",
		},
		By: s.Labels["team"] + "-ci", ApprovedBy: "ben",
	}
}

// recordOf makes the record that a model has after its last version was
// published and promoted.
func recordOf(s *spec.Spec, versions int) modelmanager.Model {
	created := time.Date(2026, 1, 1, 0, 0, 0, 123456000, time.UTC)
	m := modelmanager.Model{
		Name: s.Name, Summary: s.Summary, Owner: s.Owner, Labels: s.Labels, Serve: s.Serve,
		Repository: "https://git.example.org/" + s.Labels["team"] + "/models", Latest: versions, Created: created,
	}
	for version := versions; version > 0; version-- {
		m.History = append(m.History, modelmanager.Traffic{
			Versions: []modelmanager.Share{{Version: version, Percent: 100}}, By: s.Labels["team"] + "-ci",
			Reason: fmt.Sprintf("rollout of version %d", version), At: created.Add(time.Duration(version) * time.Hour),
		})
	}
	return m
}
