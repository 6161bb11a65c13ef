package pipeline

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// Report is what validation found out about a model.
type Report struct {
	Model       string          `json:"model"`            // "" if its model.yaml can't be read
	Folder      string          `json:"folder,omitempty"` // relative to the repository; as it was named, outside of one
	Valid       bool            `json:"valid"`            // it has no error
	Change      *Change         `json:"change,omitempty"`
	Findings    []Finding       `json:"findings"`
	Environment spec.Duration   `json:"environment"` // building what the language needs
	Start       spec.Duration   `json:"start"`       // from nothing to a loaded worker, after that
	Took        spec.Duration   `json:"took"`        // all of it
	Memory      *Memory         `json:"memory,omitempty"`
	Locked      []string        `json:"locked,omitempty"` // packages whose versions are kept with the version, since requirements.txt leaves them open
	Examples    []ExampleResult `json:"examples"`
	Skipped     string          `json:"skipped,omitempty"` // why the examples weren't run
	Output      []string        `json:"output,omitempty"`  // the worker's last lines, where it failed
	Live        []Comparison    `json:"live,omitempty"`    // with the live versions

	loaded bool // its model.yaml could be read
}

// Err returns what is wrong as one error; nil if nothing is.
func (r *Report) Err() error {
	var texts []string
	code := modelmanager.CodeInvalidPredictions
	for _, f := range r.Findings {
		if f.Severity != SeverityError || f.Code == FoundWrong {
			continue
		}
		text := f.Message
		if f.File != "" {
			text = f.place() + ": " + text
		}
		if f.Suggestion != "" {
			text += "; " + f.Suggestion
		}
		texts = append(texts, text)
		code = modelmanager.CodeInvalidSpec
	}
	for _, example := range r.Examples {
		if example.Problem != "" {
			texts = append(texts, fmt.Sprintf("example %s: %s", example.Name, example.Problem))
		}
	}
	if len(texts) == 0 {
		return nil
	}
	return &modelmanager.Error{Code: code, Detail: fmt.Sprintf("validating %s: %s", r.Model, strings.Join(texts, "\n"))}
}

// place is where a finding is, as compilers write it.
func (f Finding) place() string {
	switch {
	case f.Line == 0:
		return f.File
	case f.Column == 0:
		return fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	return fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Column)
}

// fail notes the error that ended the validation.
func (r *Report) fail(err error, dir string) { r.Findings = append(r.Findings, failure(err, dir)...) }

// finish orders the findings, writes their files as the repository has them, and
// covers what looks like a secret.
func (r *Report) finish(root string) {
	r.Folder = relativeTo(root, r.Folder)
	for i := range r.Findings {
		f := &r.Findings[i]
		f.File = relativeTo(root, f.File)
		f.Message, f.Snippet = covered(f.Message), covered(f.Snippet)
	}
	for i := range r.Output {
		r.Output[i] = covered(r.Output[i])
	}
	for i := range r.Examples {
		r.Examples[i].Problem = covered(r.Examples[i].Problem)
	}
	for i := range r.Live {
		r.Live[i].Problem = covered(r.Live[i].Problem)
		for j := range r.Live[i].Changes {
			change := &r.Live[i].Changes[j]
			change.Message = covered(change.Message)
		}
		for j := range r.Live[i].Shifts {
			shift := &r.Live[i].Shifts[j]
			shift.File = relativeTo(root, shift.File)
		}
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Compare(btoi(a.Severity != SeverityError), btoi(b.Severity != SeverityError))
	})
	r.Findings = slices.CompactFunc(r.Findings, func(a, b Finding) bool { return a == b })
	if r.Findings == nil {
		r.Findings = []Finding{}
	}
	r.Valid = r.count(SeverityError) == 0
}

func (r *Report) count(severity Severity) int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == severity {
			n++
		}
	}
	return n
}

// name is the model's, or its folder's if it has none.
func (r *Report) name() string { return cmp.Or(r.Model, r.Folder) }

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
