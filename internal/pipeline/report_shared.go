package pipeline

import (
	"fmt"
	"strings"

	"modelmanager.dev"
)

// sharedFinding is a finding with all models that have it.
type sharedFinding struct {
	Finding
	models []string
}

// sameFindings collects findings: errors first, each once.
func sameFindings(reports []*Report) []sharedFinding {
	type key struct {
		code                modelmanager.Code
		message, suggestion string
		file                string
		line                int
	}
	var list []sharedFinding
	index := map[key]int{}
	for _, severity := range []Severity{SeverityError, SeverityWarning} {
		for _, r := range reports {
			for _, f := range r.Findings {
				if f.Severity != severity {
					continue
				}
				k := key{f.Code, f.Message, f.Suggestion, f.File, f.Line}
				if r.ownFile(f.File) && f.Line > 0 { // alike in each model's own file
					k.file = strings.TrimPrefix(f.File, r.Folder)
				}
				at, found := index[k]
				if !found {
					at = len(list)
					index[k] = at
					list = append(list, sharedFinding{Finding: f})
				}
				list[at].models = append(list[at].models, r.name())
			}
		}
	}
	return list
}

func (r *Report) ownFile(file string) bool { return strings.HasPrefix(file, r.Folder+"/") }

// who names the models that have the finding.
func (f sharedFinding) who() string {
	const most = 6
	names := make([]string, 0, most)
	for _, model := range f.models[:min(len(f.models), most)] {
		names = append(names, oneLine(model, 80))
	}
	text := strings.Join(names, ", ")
	if more := len(f.models) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
