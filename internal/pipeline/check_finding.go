package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// Severity says whether a finding keeps a model from being published.
type Severity string

// The severities.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
)

// Finding is one thing that validation found out about a model, and what to do
// about it.
type Finding struct {
	Code       modelmanager.Code `json:"code"` // one of the API's, or of those below
	Severity   Severity          `json:"severity"`
	File       string            `json:"file,omitempty"`   // relative to the repository; as it was named, outside of one
	Line       int               `json:"line,omitempty"`   // 1 is the first; 0: about the file as a whole
	Column     int               `json:"column,omitempty"` // in code points; 1 is the first
	Message    string            `json:"message"`
	Suggestion string            `json:"suggestion,omitempty"`
	Snippet    string            `json:"snippet,omitempty"` // the line of the file, and below it a line that points
}

// The codes that only validation has.
const (
	FoundAdvice       modelmanager.Code = "advice"               // model.yaml could be better
	FoundBreaking     modelmanager.Code = "breaking_change"      // callers of the live version may fail
	FoundPointer      modelmanager.Code = "lfs_pointer"          // the file's content is still in Git LFS
	FoundLarge        modelmanager.Code = "file_too_large"       // for a repository, or an upload
	FoundSecret       modelmanager.Code = "secret"               // a file holds what looks like a secret
	FoundUnpinned     modelmanager.Code = "unpinned_requirement" // another day, another version
	FoundWrong        modelmanager.Code = "wrong_prediction"     // an example answers something else
	FoundSlowStart    modelmanager.Code = "slow_start"           // nearly as long as timeouts.start
	FoundMemory       modelmanager.Code = "high_memory"          // nearly as much as resources.memory
	FoundSample       modelmanager.Code = "invalid_sample"       // the sample file can't be used
	FoundIncomparable modelmanager.Code = "not_compared"         // with the live version
)

// found makes a finding of a problem of model.yaml.
func found(severity Severity, code modelmanager.Code, p spec.Problem) Finding {
	return Finding{
		Code: code, Severity: severity, File: p.File, Line: p.Line, Column: p.Column,
		Message: p.Message, Suggestion: p.Suggestion, Snippet: p.Snippet,
	}
}

// failure makes findings of the error that ended a step. Errors that name a line
// of the model's own code (predict.py:2) are put there.
func failure(err error, dir string) []Finding {
	var problems spec.Problems
	if errors.As(err, &problems) {
		var findings []Finding
		for _, p := range problems {
			findings = append(findings, found(SeverityError, modelmanager.CodeInvalidSpec, p))
		}
		return findings
	}
	message := validating.ReplaceAllString(strings.TrimSpace(err.Error()), "")
	f := Finding{Code: modelmanager.CodeOf(err), Severity: SeverityError, Message: message, File: filepath.Join(dir, "model.yaml")}
	var e *modelmanager.Error
	if errors.As(err, &e) && len(e.Rows) > 0 && !strings.Contains(f.Message, e.Rows[0].Message) {
		for _, row := range e.Rows[:min(len(e.Rows), 5)] {
			f.Message += fmt.Sprintf("\nexample %d: %s %s", row.Row+1, row.Feature, row.Message)
		}
	}
	if match := ownLine.FindStringSubmatch(f.Message); match != nil {
		file := filepath.Join(dir, filepath.FromSlash(match[1]))
		if line, err := strconv.Atoi(match[2]); err == nil && filepath.IsLocal(filepath.FromSlash(match[1])) {
			if snippet := snippetOf(file, line); snippet != "" {
				f.File, f.Line, f.Column, f.Snippet = file, line, snippetColumn(snippet), snippet
			}
		}
	}
	return []Finding{f}
}

// validating begins errors that are read without the report around them.
var validating = regexp.MustCompile(`^validating [a-z0-9-]+: `)

// ownLine is how errors name a line of the model's code.
var ownLine = regexp.MustCompile(`\(([^():\s]+):([0-9]{1,7})\)`)

// snippetOf returns a line of a file, and one below it that points at where it
// begins; "" if there is no such line.
func snippetOf(file string, number int) string {
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() || info.Size() > scanLimit {
		return ""
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	lines := bytes.Split(data, []byte("\n"))
	if number < 1 || number > len(lines) {
		return ""
	}
	const most = 110
	line := []rune(strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return '·'
		}
		return r
	}, strings.TrimRight(strings.ToValidUTF8(string(lines[number-1]), "�"), " \r\t")))
	if len(line) > most {
		line = append(line[:most], '…')
	}
	text := string(line)
	content := strings.TrimLeft(text, " \t")
	if content == "" {
		return ""
	}
	indent := text[:len(text)-len(content)]
	return text + "\n" + indent + strings.Repeat("^", len([]rune(content)))
}

func snippetColumn(snippet string) int {
	line, _, _ := strings.Cut(snippet, "\n")
	return len(line) - len(strings.TrimLeft(line, " \t")) + 1
}
