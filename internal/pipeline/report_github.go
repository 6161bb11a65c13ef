package pipeline

import (
	"fmt"
	"io"
	"strings"
)

// WriteGitHub writes the findings as workflow commands, which GitHub shows beside
// the lines they are about: errors first, since it shows the first ten of a step,
// and what several models have in common once.
func (r *Review) WriteGitHub(w io.Writer) error {
	var b strings.Builder
	for _, f := range sameFindings(r.Models) {
		b.WriteString(annotation(f))
	}
	fmt.Fprintf(&b, "::notice title=Model Manager::%s\n", commandData(r.summary()))
	_, err := io.WriteString(w, b.String())
	return err
}

func annotation(f sharedFinding) string {
	var properties []string
	if f.File != "" {
		properties = append(properties, "file="+commandProperty(f.File))
	}
	if f.Line > 0 {
		properties = append(properties, fmt.Sprintf("line=%d", f.Line))
	}
	if f.Column > 0 {
		properties = append(properties, fmt.Sprintf("col=%d", f.Column))
	}
	properties = append(properties, "title="+commandProperty(f.who()+": "+string(f.Code)))
	message := strings.TrimSpace(plain(f.Message))
	if f.Suggestion != "" {
		message += "\n→ " + f.Suggestion
	}
	return fmt.Sprintf("::%s %s::%s\n", f.Severity, strings.Join(properties, ","), commandData(message))
}

// commandData escapes a command's text as GitHub's runner expects it.
func commandData(text string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(text)
}

// commandProperty escapes a property of a command.
func commandProperty(text string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace(text)
}
