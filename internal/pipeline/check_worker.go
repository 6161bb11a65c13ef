package pipeline

import (
	"fmt"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/spec"
)

// nearLimit is the share of a limit from which on a model is warned of it.
const nearLimit = 0.8

// Memory is the most that a model's worker held, beside what it may hold.
type Memory struct {
	Peak  int64 `json:"peak"`  // bytes
	Limit int64 `json:"limit"` // resources.memory
}

// weigh notes what the worker took to start and to answer, and warns where that
// is near its limits.
func (t trial) weigh(predictor worker.Predictor) {
	report := t.report
	if limit := time.Duration(t.Spec.Timeouts.Start); float64(report.Start) > nearLimit*float64(limit) {
		report.Findings = append(report.Findings, t.at("timeouts.start", FoundSlowStart, SeverityWarning,
			fmt.Sprintf("it took %s to start, of the %s that it may take", durationText(report.Start), limit),
			"on a busy machine it won't make it: load less at the start, or raise timeouts.start"))
	}
	measured, ok := predictor.(interface{ Peak() int64 })
	if !ok {
		return
	}
	memory := Memory{Peak: measured.Peak(), Limit: t.Spec.Resources.Memory}
	if memory.Peak == 0 {
		return
	}
	report.Memory = &memory
	if memory.Limit > 0 && float64(memory.Peak) > nearLimit*float64(memory.Limit) {
		report.Findings = append(report.Findings, t.at("resources.memory", FoundMemory, SeverityWarning,
			fmt.Sprintf("it held up to %s, of the %s that it may hold", sizeText(memory.Peak), sizeText(memory.Limit)),
			"a worker that takes more is ended: raise resources.memory"))
	}
}

// at makes a finding at a path of model.yaml.
func (t trial) at(path string, code modelmanager.Code, severity Severity, message, suggestion string) Finding {
	f := found(severity, code, t.place(path))
	f.Message, f.Suggestion = message, suggestion
	return f
}

// checkExamples finds examples that weren't answered as they expect.
func checkExamples(report *Report, folder *spec.Folder) {
	for i, example := range report.Examples {
		if example.Problem == "" {
			continue
		}
		f := found(SeverityError, FoundWrong, folder.Place(fmt.Sprintf("examples.%d.predictions", i)))
		f.Message = fmt.Sprintf("example %s: %s", example.Name, example.Problem)
		f.Suggestion = "if the new answer is right, write it into the example, with a tolerance where it may vary"
		report.Findings = append(report.Findings, f)
	}
}
