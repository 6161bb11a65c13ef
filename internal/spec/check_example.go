package spec

import (
	"fmt"

	"modelmanager.dev"
)

// examples checks every example's row against the features, and what it
// expects against the predictions. Where those are wrong themselves, their own
// problems come first.
func (c *checker) examples() {
	n, found := c.root.find([]any{"examples"})
	if !found || n.kind != kindList || !c.clean("features") || !c.clean("predictions") {
		return
	}
	for i, example := range n.items {
		if row := example.get("features"); row != nil && row.kind == kindObject && c.set("features") {
			c.exampleRow(row, i)
		}
		if row := example.get("predictions"); row != nil && row.kind == kindObject && c.set("predictions") {
			c.exampleValues(row, c.spec.Predictions, "prediction", "examples", i, "predictions")
		}
		if c.set("examples", i, "tolerance") && example.get("predictions") == nil {
			c.fault("`tolerance` says how far predictions may be off, but the example has none", "add predictions: {…}", "examples", i, "tolerance")
		}
	}
}

func (c *checker) exampleRow(row *node, i int) {
	c.exampleValues(row, c.spec.Features, "feature", "examples", i, "features")
	var absent []string
	for _, f := range c.spec.Features {
		if row.get(f.Name) == nil && f.Default == nil {
			absent = append(absent, quote(f.Name))
		}
	}
	if len(absent) == 0 {
		return
	}
	more := ""
	if len(absent) > 5 {
		more = fmt.Sprintf(" and %d more", len(absent)-5)
		absent = absent[:5]
	}
	hint := "give it a value; null only where the feature is nullable"
	if more != "" || len(absent) > 1 {
		hint = "give them values; null only where the feature is nullable"
	}
	c.fault("the example lacks "+alternativesAnd(absent)+more, hint, "examples", i, "features")
}

func (c *checker) exampleValues(row *node, fields []modelmanager.Field, what string, path ...any) {
	byName := make(map[string]*modelmanager.Field, len(fields))
	names := make([]string, 0, len(fields))
	for i := range fields {
		byName[fields[i].Name] = &fields[i]
		names = append(names, fields[i].Name)
	}
	for _, e := range row.entries {
		inner := append(append([]any{}, path...), e.key.text)
		f := byName[e.key.text]
		if f == nil {
			hint := fmt.Sprintf("every %s is listed under `%ss`", what, what)
			if near := nearest(e.key.text, names); near != "" {
				hint = "did you mean " + quote(near) + "?"
			}
			if len(c.problems) < maxProblems {
				c.wrong = append(c.wrong, pathText(inner))
				c.problems = append(c.problems, e.key.at.problem(pathText(inner), fmt.Sprintf("%s is not a %s", quote(e.key.text), what), hint))
			}
			continue
		}
		if problem, hint := fits(f, e.value); problem != "" {
			c.fault(fmt.Sprintf("%s: %s %s", quote(f.Name), valueText(e.value), problem), hint, inner...)
		}
	}
}
