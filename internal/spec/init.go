package spec

import (
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"modelmanager.dev"
)

// InitOptions says what model to begin.
type InitOptions struct {
	Name     string
	Language string // python, r, java or go
	Summary  string // optional, as Owner
	Owner    string

	// From data, or empty for a small model to start from. Expected
	// predictions of Examples are written as comments: the model that is
	// generated doesn't know better than to answer the same for every row.
	Features    []modelmanager.Field
	Predictions []modelmanager.Field
	Examples    []Example

	// The worker libraries, single source files that are put beside the model.
	JavaWorker []byte // ModelWorker.java
	GoWorker   []byte // worker.go
}

// GeneratedFile is a file of a new model.
type GeneratedFile struct {
	Path string // relative to the model's folder, with slashes
	Data []byte
	Mode fs.FileMode
}

var nameText = regexp.MustCompile(dnsLabel)

// Init writes the files of a new model: one that validates and runs as it is,
// with nothing but its language installed.
func Init(opts InitOptions) ([]GeneratedFile, error) {
	if !nameText.MatchString(opts.Name) {
		hint := nameHint(textNode(opts.Name, place{}))
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "a model's name is lower-case letters, digits and hyphens, at most 40, not %q; %s", opts.Name, orText(hint, "choose another"))
	}
	g := &generator{InitOptions: opts, sample: len(opts.Features) == 0}
	if g.sample {
		g.sampleModel()
	}
	if len(g.Predictions) == 0 {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "beginning model %s: there are features, but no predictions; name the column to predict", opts.Name)
	}
	g.Summary = orText(strings.TrimSpace(g.Summary), "Predicts "+strings.Join(fieldNames(g.Predictions), ", ")+".")
	g.Owner = orText(g.Owner, "me@example.org")
	write, ok := map[string]func(){"python": g.python, "r": g.r, "java": g.java, "go": g.golang}[strings.ToLower(opts.Language)]
	if !ok {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "beginning model %s: the language %q is not known; choose python, r, java or go", opts.Name, opts.Language)
	}
	write()
	g.add("README.md", g.card())
	if _, err := Parse(fileName, g.files[0].Data); err != nil {
		return nil, err
	}
	return g.files, nil
}

type generator struct {
	InitOptions
	sample bool // the small model of our own
	files  []GeneratedFile
}

func (g *generator) add(path, text string) {
	g.files = append(g.files, GeneratedFile{Path: path, Data: []byte(text), Mode: 0o644})
}

func fieldNames(fields []modelmanager.Field) []string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	return names
}

// sampleModel is a logistic regression by hand: enough to see everything work.
func (g *generator) sampleModel() {
	zero, one := 0.0, 1.0
	g.Features = []modelmanager.Field{
		{Name: "amount", Type: modelmanager.Number, Minimum: &zero, Unit: "EUR", Description: "What the customer ordered for"},
		{Name: "country", Type: modelmanager.String, Enum: []any{"at", "ch", "de"}, Description: "Where to"},
	}
	g.Predictions = []modelmanager.Field{{Name: "probability", Type: modelmanager.Number, Minimum: &zero, Maximum: &one, Description: "That the order is returned"}}
	g.Examples = []Example{
		{Features: raw("amount", "120", "country", `"at"`), Predictions: raw("probability", "0.179"), Tolerance: 0.001},
		{Features: raw("amount", "900", "country", `"ch"`), Predictions: raw("probability", "0.870"), Tolerance: 0.001},
	}
	g.Summary = orText(g.Summary, "Probability that an order is returned. A sample; replace it by your own model.")
}

func (g *generator) card() string {
	var text strings.Builder
	fmt.Fprintf(&text, "# %s\n\n%s\n\n", g.Name, g.Summary)
	text.WriteString("## What it is for\n\nSay who uses the predictions, and for what decision.\n\n")
	text.WriteString("## What it is not for\n\nSay where it must not be used.\n\n")
	text.WriteString("## How good it is\n\nSay on which data it was trained and tested, and how well it did.\n\n")
	text.WriteString("## Features\n\n")
	writeFields(&text, g.Features)
	text.WriteString("\n## Predictions\n\n")
	writeFields(&text, g.Predictions)
	return text.String()
}

func writeFields(text *strings.Builder, fields []modelmanager.Field) {
	for _, f := range fields {
		fmt.Fprintf(text, "* `%s` (%s", f.Name, typeText(&f))
		if f.Unit != "" {
			fmt.Fprintf(text, ", %s", f.Unit)
		}
		text.WriteString(")")
		if f.Description != "" {
			fmt.Fprintf(text, ": %s", f.Description)
		}
		text.WriteString("\n")
	}
}
