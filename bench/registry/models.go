package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
)

var (
	questions = []string{
		"readmission", "churn", "length-of-stay", "no-show", "sepsis-risk", "fall-risk", "propensity", "lifetime-value", "demand",
		"fraud", "default-risk", "claim-cost", "staffing", "bed-occupancy", "stock-out", "price-elasticity", "delay", "failure", "triage", "dosage",
	}
	places  = []string{"north", "south", "east", "west", "upper", "lower", "new", "old", "great", "little", "saint", "mount", "lake", "river", "port", "fort"}
	stems   = []string{"ash", "birch", "cedar", "elm", "hazel", "linden", "maple", "oak", "pine", "rowan", "willow", "alder", "beech", "holly", "juniper", "larch"}
	endings = []string{"field", "ford", "ton", "ham", "bury", "wick", "ville", "dale", "stead", "bridge", "mouth", "worth", "gate", "hill", "brook", "wood"}
	phrases = []string{
		"within thirty days of discharge", "in the coming quarter", "for each open case", "of a customer with an active contract",
		"given the last twelve months of activity", "per ward and day", "before the appointment", "after the first contact",
		"estimated from laboratory values", "from the nightly extract", "adjusted for age and case mix", "by product group",
	}
	teams = []string{"oncology", "cardiology", "operations", "finance", "marketing", "logistics", "pricing", "quality", "research", "service"}
	uses  = []string{"diagnosis", "planning", "billing", "campaign", "reporting", "triage"}
)

// model makes realistic model i: one of a few hundred customers' models of a
// few dozen questions, each with a summary of its own.
func model(i int) modelmanager.Model {
	r := rand.New(rand.NewPCG(uint64(i), 2026))
	pick := func(words []string) string { return words[r.IntN(len(words))] }
	customer := places[i%16] + "-" + stems[i/16%16] + endings[i/256%16]
	question := questions[i/4096%20]
	name := customer + "-" + question
	if len(name) > 33 {
		name = name[:33]
	}
	name = strings.TrimSuffix(name, "-") + fmt.Sprintf("-%d", i/81920+1)
	team := pick(teams)
	m := modelmanager.Model{
		Name: name,
		Summary: fmt.Sprintf("Probability of %s %s, %s %s (cohort %d)", strings.ReplaceAll(question, "-", " "),
			pick(phrases), pick(phrases), customer, r.IntN(1000)),
		Owner:      fmt.Sprintf("%s-%d@example.org", team, r.IntN(40)),
		Labels:     map[string]string{"customer": customer, "use": pick(uses), "team": team},
		Serve:      []modelmanager.Mode{modelmanager.RealTime, modelmanager.Batch},
		Repository: "https://git.example.org/" + team + "/models",
		Latest:     1 + r.IntN(30),
		Created:    time.Date(2026, 1, 1, 0, 0, r.IntN(1e7), 0, time.UTC),
	}
	for version := m.Latest; version > max(0, m.Latest-3); version-- {
		m.History = append(m.History, modelmanager.Traffic{
			Versions: []modelmanager.Share{{Version: version, Percent: 100}},
			Reason:   "rollout of version " + fmt.Sprint(version), By: team + "-ci", At: m.Created.Add(time.Duration(version) * time.Hour),
		})
	}
	return m
}

// library is a store that makes its models when it is watched, and keeps
// nothing: so that what the heap holds is the registry's.
type library struct {
	registry.Store
	models int
}

func (l library) Watch(ctx context.Context, event func(registry.Event)) error {
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(l.models) {
		event(registry.Event{Model: model(i)})
	}
	event(registry.Event{Synced: true})
	<-ctx.Done()
	return ctx.Err()
}
