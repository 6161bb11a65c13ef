package spec

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"modelmanager.dev"
)

// semantics checks what the shape can't: all that depends on several keys.
func (c *checker) semantics() {
	c.labels()
	c.fields("features", c.spec.Features)
	c.fields("predictions", c.spec.Predictions)
	c.columns()
	c.serving()
	c.runs()
	c.builds()
	c.files()
	c.environment()
	c.limits()
	c.rollout()
	c.examples()
}

// fault reports a problem at a path, unless that place is known to be wrong.
func (c *checker) fault(message, suggestion string, path ...any) {
	where := pathText(path)
	for _, wrong := range c.wrong {
		if rest, ok := strings.CutPrefix(where, wrong); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return
		}
	}
	n, _ := c.root.find(path)
	c.report(n.at, path, message, suggestion)
}

// clean tells whether nothing is wrong at a path or below.
func (c *checker) clean(path string) bool {
	return !slices.ContainsFunc(c.wrong, func(wrong string) bool {
		rest, ok := strings.CutPrefix(wrong, path)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// set tells whether the file says something at a path.
func (c *checker) set(path ...any) bool {
	_, found := c.root.find(path)
	return found
}

// line returns the line of a path, for messages that name another place.
func (c *checker) line(path ...any) string {
	n, _ := c.root.find(path)
	if n.at.source == nil {
		return pathText(path)
	}
	return fmt.Sprintf("line %d", n.at.clamped().line)
}

func (c *checker) labels() {
	for _, name := range sortedKeys(c.spec.Labels) {
		if !labelName.MatchString(name) {
			c.fault(fmt.Sprintf("the label %s must be letters, digits, and ._/- between them, at most 63", quote(name)), "", "labels", name)
		}
		if hasControl(c.spec.Labels[name]) {
			c.fault("a label's value must be one line", "", "labels", name)
		}
	}
	if strings.ContainsAny(c.spec.Summary, "\n\r") && strings.Contains(strings.TrimSpace(c.spec.Summary), "\n") {
		c.fault("`summary` must be one line", "longer texts belong in README.md", "summary")
	}
	c.spec.Summary = strings.TrimSpace(c.spec.Summary)
	c.spec.Owner = strings.TrimSpace(c.spec.Owner)
}

func hasControl(text string) bool { return strings.ContainsFunc(text, unicode.IsControl) }

// columns checks that no name is there twice, among features and predictions
// together, with the columns that arrays of fixed length make in a CSV file.
func (c *checker) columns() {
	type taken struct{ path []any }
	names := map[string]taken{}
	add := func(name string, own bool, path ...any) {
		first, there := names[name]
		if !there {
			names[name] = taken{path}
			return
		}
		switch {
		case own && first.path[0] == path[0]:
			c.fault(fmt.Sprintf("the name %s is there twice; first in %s", quote(name), c.line(first.path...)), "rename or delete one of them", path...)
		case own:
			c.fault(fmt.Sprintf("%s is a feature (%s) and a prediction", quote(name), c.line(first.path...)), "rename the prediction: a result file holds both", path...)
		default:
			c.fault(fmt.Sprintf("the CSV column %s is there twice; first from %s", quote(name), c.line(first.path...)), "rename one of them", path...)
		}
	}
	for _, group := range []struct {
		key    string
		fields []modelmanager.Field
	}{{"features", c.spec.Features}, {"predictions", c.spec.Predictions}} {
		for i, f := range group.fields {
			if f.Name == "" {
				continue
			}
			add(f.Name, true, group.key, i, "name")
			for j, label := range f.Labels {
				add(f.Name+"."+label, false, group.key, i, "labels", j)
			}
		}
	}
}

func (c *checker) serving() {
	for i, mode := range c.spec.Serve {
		if slices.Contains(c.spec.Serve[:i], mode) && mode != "" {
			c.fault(fmt.Sprintf("%s is there twice", mode), "", "serve", i)
		}
	}
	if c.spec.Run.Job == nil {
		return
	}
	for i, mode := range c.spec.Serve {
		if mode == modelmanager.RealTime {
			c.fault("a model with run.job reads and writes files; it can't answer in real time", "write serve: [batch], or run it with python, r, command or http", "serve", i)
		}
	}
}

func (c *checker) limits() {
	s := c.spec
	if c.set("scale", "min") && c.set("scale", "max") && s.Scale.Min > s.Scale.Max && s.Scale.Max > 0 {
		c.fault(fmt.Sprintf("`min` is %d, more than `max`, %d", s.Scale.Min, s.Scale.Max), "", "scale", "min")
	}
	if !c.set("batch", "retries") {
		s.Batch.Retries = 3 // here, since 0 is a choice
	}
}

func (c *checker) rollout() {
	r := c.spec.Rollout
	canary := r.Strategy == "canary"
	for _, key := range []string{"steps", "pause", "back_when"} {
		if !canary && c.set("rollout", key) && !(c.base && r.Strategy == "") && c.clean("rollout.strategy") {
			c.fault(fmt.Sprintf("`%s` belongs to strategy: canary, but the strategy is %s", key, orText(r.Strategy, "immediate")), "write strategy: canary, or delete it", "rollout", key)
		}
	}
	if !canary {
		return
	}
	if len(r.Steps) == 0 && c.clean("rollout.steps") && !c.base {
		c.fault("a canary needs `steps`", "for example steps: [5, 25, 50]", "rollout", "strategy")
	}
	for i := 1; i < len(r.Steps); i++ {
		if r.Steps[i] <= r.Steps[i-1] && c.clean("rollout.steps") {
			c.fault(fmt.Sprintf("`steps` must ascend, but %d comes after %d", r.Steps[i], r.Steps[i-1]), "", "rollout", "steps", i)
		}
	}
	if len(c.spec.Serve) > 0 && !slices.Contains(c.spec.Serve, modelmanager.RealTime) && c.clean("serve") {
		c.fault("a canary splits real-time calls, but the model serves only jobs", "write strategy: manual or immediate", "rollout", "strategy")
	}
}

func orText(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
