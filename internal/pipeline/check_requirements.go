package pipeline

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"modelmanager.dev/internal/spec"
)

// checkRequirements finds packages of Python that a requirements.txt asks for
// without saying which version. A lock file beside it says so for all.
func checkRequirements(folder *spec.Folder) []Finding {
	var requirements string
	for _, file := range folder.Files {
		switch file.Path {
		case "requirements.lock", "uv.lock":
			return nil
		case "requirements.txt":
			requirements = file.Source
		}
	}
	if requirements == "" || folder.Spec.Run.R != "" {
		return nil
	}
	data, err := os.ReadFile(requirements)
	if err != nil || len(data) > scanLimit {
		return nil // what can't be read fails where it is needed
	}
	var findings []Finding
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		name, column, unpinned := unpinnedRequirement(line)
		if !unpinned {
			continue
		}
		findings = append(findings, Finding{
			Code: FoundUnpinned, Severity: SeverityWarning, File: requirements, Line: number, Column: column,
			Message:    fmt.Sprintf("%s has no fixed version: what is installed depends on the day", name),
			Suggestion: fmt.Sprintf("write %s==VERSION; or lock all of them: uv pip compile requirements.txt -o %s", name, lockName),
			Snippet:    snippetOf(requirements, number),
		})
		if len(findings) == 20 {
			break
		}
	}
	return findings
}

var requirementStart = regexp.MustCompile(`^(\s*)([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*(.*)$`)

// unpinnedRequirement tells whether a line of a requirements.txt asks for a
// package of any version, or of a range.
func unpinnedRequirement(line string) (name string, column int, unpinned bool) {
	line, _, _ = strings.Cut(strings.TrimRight(line, " \r\n\\"), " #")
	match := requirementStart.FindStringSubmatch(line)
	if match == nil {
		return "", 0, false // an option, a comment, or nothing
	}
	constraint, _, _ := strings.Cut(match[4], ";")
	constraint = strings.TrimSpace(constraint)
	switch {
	case strings.HasPrefix(constraint, "@"): // an address
		return "", 0, false
	case strings.HasPrefix(constraint, "==") && !strings.Contains(constraint, "*"):
		return "", 0, false
	case strings.HasPrefix(constraint, "/") || strings.HasPrefix(constraint, ":"): // a path
		return "", 0, false
	}
	return match[2], len(match[1]) + 1, true
}
