package spec

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"modelmanager.dev"
)

// Problem is one thing that is wrong with a model.yaml, or with its folder.
type Problem struct {
	File       string `json:"file"`                 // as it was named to Parse; a template's, where the template is wrong
	Line       int    `json:"line,omitempty"`       // 1 is the first; 0: about the folder as a whole
	Column     int    `json:"column,omitempty"`     // in code points; 1 is the first
	Path       string `json:"path,omitempty"`       // features[2].minimum
	Message    string `json:"message"`              // what is wrong
	Suggestion string `json:"suggestion,omitempty"` // what to do about it
	Snippet    string `json:"snippet,omitempty"`    // the line of the file, and below it a line that points
}

// Problems are all problems of a file, in the order of their positions.
type Problems []Problem

// maxShown bounds what Error prints; the slice itself holds every problem.
const maxShown = 50

// Error tells all problems to a person, the way compilers do.
func (p Problems) Error() string {
	var text strings.Builder
	for i, problem := range p {
		if i == maxShown {
			fmt.Fprintf(&text, "… and %d more problems\n", len(p)-maxShown)
			break
		}
		if i > 0 {
			text.WriteByte('\n')
		}
		text.WriteString(problem.String())
	}
	return strings.TrimSuffix(text.String(), "\n")
}

// As makes errors.As find a *modelmanager.Error with CodeInvalidSpec.
func (p Problems) As(target any) bool {
	e, ok := target.(**modelmanager.Error)
	if !ok {
		return false
	}
	*e = &modelmanager.Error{Code: modelmanager.CodeInvalidSpec, Detail: p.Error()}
	return true
}

// String tells the problem in a few lines: the place and what is wrong, the
// line of the file with a pointer, and what to do.
func (p Problem) String() string {
	var text strings.Builder
	text.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&text, ":%d:%d", p.Line, p.Column)
	}
	fmt.Fprintf(&text, ": %s\n", p.Message)
	gutter := strconv.Itoa(p.Line)
	blank := strings.Repeat(" ", len(gutter))
	if p.Snippet != "" {
		line, pointer, _ := strings.Cut(p.Snippet, "\n")
		fmt.Fprintf(&text, "  %s | %s\n  %s | %s\n", gutter, line, blank, pointer)
	}
	if p.Suggestion != "" {
		fmt.Fprintf(&text, "  %s = %s\n", blank, p.Suggestion)
	}
	return text.String()
}

// ordered sorts problems by position and takes repetitions out: an alias can
// lead to the same mistake many times.
func ordered(problems []Problem) Problems {
	rank := map[string]int{}
	for _, p := range problems {
		if _, ok := rank[p.File]; !ok {
			rank[p.File] = len(rank)
		}
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(rank[a.File], rank[b.File]),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
		)
	})
	return slices.CompactFunc(problems, func(a, b Problem) bool {
		return a.File == b.File && a.Line == b.Line && a.Column == b.Column && a.Message == b.Message
	})
}

// source is a file that was read, for positions and snippets.
type source struct {
	name  string
	lines []string
}

func newSource(name, text string) *source {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	return &source{name: name, lines: strings.Split(text, "\n")}
}

// place is a position in a source; the zero place is nowhere.
type place struct {
	source       *source
	line, column int
	width        int // code points to point at; at least 1
}

// clamped moves a place into its file: a parser may name the position after
// the last character.
func (p place) clamped() place {
	if p.source == nil {
		return p
	}
	p.line = min(max(p.line, 1), len(p.source.lines))
	length := len([]rune(p.source.lines[p.line-1]))
	p.column = min(max(p.column, 1), length+1)
	p.width = min(max(p.width, 1), max(length+1-p.column, 1))
	return p
}

// maxSnippet is how much of a line a snippet shows, in code points.
const maxSnippet = 110

func (p place) snippet() string {
	if p.source == nil || p.line == 0 {
		return ""
	}
	line := []rune(p.source.lines[p.line-1])
	start, column := 0, p.column-1
	if len(line) > maxSnippet {
		start = min(max(column-maxSnippet/2, 0), len(line)-maxSnippet)
	}
	end := min(start+maxSnippet, len(line))
	var shown, pointer strings.Builder
	if start > 0 {
		shown.WriteString("…")
		pointer.WriteString(" ")
	}
	for i, r := range line[start:end] {
		if r != '\t' && (r < ' ' || r == 0x7f) {
			r = '·'
		}
		shown.WriteRune(r)
		if start+i < column {
			if r != '\t' {
				r = ' '
			}
			pointer.WriteRune(r)
		}
	}
	if end < len(line) {
		shown.WriteString("…")
	}
	pointer.WriteString(strings.Repeat("^", min(p.width, max(end-column, 1))))
	return shown.String() + "\n" + pointer.String()
}

func (p place) problem(path, message, suggestion string) Problem {
	p = p.clamped()
	problem := Problem{Line: p.line, Column: p.column, Path: path, Message: message, Suggestion: suggestion, Snippet: p.snippet()}
	if p.source != nil {
		problem.File = p.source.name
	}
	return problem
}
