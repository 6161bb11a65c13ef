package spec

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// checker goes through a tree and collects what is wrong with it.
type checker struct {
	root     *node
	problems []Problem
	wrong    []string // paths that problems were found at, so that one mistake makes one problem
	spec     *Spec    // what the tree means, once its shape is checked
	base     bool     // the file has a template that may have what is missing here
}

// maxProblems is where a checker gives up on a file that is wrong throughout.
const maxProblems = 1000

func (c *checker) report(at place, path []any, message, suggestion string) {
	if len(c.problems) >= maxProblems {
		return
	}
	where := pathText(path)
	c.wrong = append(c.wrong, where)
	c.problems = append(c.problems, at.problem(where, message, suggestion))
}

// shaped checks a node against a shape. It returns what the node means as a
// value that encoding/json can write; nil where it means nothing.
func (c *checker) shaped(n *node, s *shape, path []any) any {
	if n.kind == kindNull && s.kind != shapeAny && s.kind != shapeScalar {
		if n.text == "null" && slices.Contains(s.enum, "null") {
			return "null" // unknown: null is as good as unknown: "null"
		}
		if c.base {
			return nil // it takes the template's value away
		}
		c.report(n.at, path, subject(path)+" has no value; it must be "+s.wanted(), "give it a value, or delete the key")
		return nil
	}
	switch s.kind {
	case shapeAny:
		c.exact(n, path)
		return c.free(n, path)
	case shapeScalar:
		if n.kind == kindObject {
			c.report(n.at, path, subject(path)+" must be a single value or a list, but this is a mapping", "")
			return nil
		}
		return c.free(n, path)
	case shapeObject:
		return c.object(n, s, path)
	case shapeList:
		return c.list(n, s, path)
	case shapeText:
		return c.text(n, s, path)
	case shapeBoolean:
		if n.kind == kindBoolean {
			return n.boolean
		}
		c.mistyped(n, s, path, booleanHint(n))
		return nil
	case shapeInteger, shapeNumber:
		return c.number(n, s, path)
	}
	value, problem, hint := quantity(n, s.kind)
	if problem != "" {
		c.report(n.at, path, subject(path)+" "+problem, hint)
		return nil
	}
	return value
}

// subject names the value at a path, by its last key.
func subject(path []any) string {
	index := ""
	for i := len(path) - 1; i >= 0; i-- {
		if key, ok := path[i].(string); ok {
			return "`" + shorten(key) + index + "`"
		}
		index = fmt.Sprintf("[%d]", path[i]) + index
	}
	return "the file"
}

// wanted says in words what a shape takes.
func (s *shape) wanted() string {
	switch s.kind {
	case shapeText:
		if len(s.enum) > 0 {
			return alternatives(s.enum)
		}
		if s.rule != "" && len(s.rule) < 40 {
			return s.rule
		}
		return "text"
	case shapeBoolean:
		return "true or false"
	case shapeInteger:
		return "a whole number"
	case shapeNumber:
		return "a number"
	case shapeTime:
		return "a duration such as 30s"
	case shapeCPU:
		return "a number of cores such as 500m or 2"
	case shapeBytes:
		return "a size such as 512Mi"
	case shapeList:
		return "a list"
	}
	return "a mapping"
}

func alternatives(values []string) string {
	if len(values) < 2 {
		return strings.Join(values, "")
	}
	last := len(values) - 1
	return strings.Join(values[:last], ", ") + " or " + values[last]
}

func (c *checker) mistyped(n *node, s *shape, path []any, hint string) {
	if n.kind == kindOdd && hint == "" {
		hint = oddHint(n, s)
	}
	if hint == "" && s.hint != nil {
		hint = s.hint(n)
	}
	c.report(n.at, path, fmt.Sprintf("%s must be %s, but this is %s", subject(path), s.wanted(), n.what()), hint)
}

func (c *checker) object(n *node, s *shape, path []any) any {
	if n.kind != kindObject {
		c.mistyped(n, s, path, objectHint(n, s))
		return map[string]any{}
	}
	values := make(map[string]any, len(n.entries))
	misspelt := map[string]bool{} // keys that were meant: they don't lack, too
	for _, e := range n.entries {
		inner := append(slices.Clip(path), e.key.text)
		key := s.key(e.key.text)
		switch {
		case key != nil:
			if value := c.shaped(e.value, key.shape, inner); value != nil || e.value.kind == kindNull {
				values[cmp.Or(key.as, key.name)] = value
			}
		case s.others != nil:
			if e.key.text == "" || utf8.RuneCountInString(e.key.text) > 256 {
				c.report(e.key.at, inner, "a key must have 1 to 256 characters", "")
				continue
			}
			values[e.key.text] = c.shaped(e.value, s.others, inner)
		default:
			misspelt[nearest(e.key.text, s.names())] = true
			c.report(e.key.at, inner, fmt.Sprintf("%s is not a key of %s", quote(e.key.text), s.title), unknownKeyHint(e.key.text, s))
		}
	}
	if c.base && len(path) == 0 {
		return values
	}
	for _, key := range s.keys {
		if key.required && n.get(key.name) == nil && !misspelt[key.name] {
			c.report(n.at, append(slices.Clip(path), key.name), fmt.Sprintf("%s lacks %s", s.title, "`"+key.name+"`"), missingHint(&key))
		}
	}
	return values
}

func (c *checker) list(n *node, s *shape, path []any) any {
	if n.kind != kindList {
		c.mistyped(n, s, path, listHint(n, s))
		return nil
	}
	if len(n.items) < s.minItems {
		c.report(n.at, path, fmt.Sprintf("%s needs at least %s", subject(path), count(s.minItems, "item")), "")
	}
	if len(n.items) > s.maxItems {
		c.report(n.at, path, fmt.Sprintf("%s has %d items; at most %d are allowed", subject(path), len(n.items), s.maxItems), "")
		return nil
	}
	values := make([]any, len(n.items))
	for i, item := range n.items {
		values[i] = c.shaped(item, s.item, append(slices.Clip(path), i))
	}
	return values
}

func (c *checker) text(n *node, s *shape, path []any) any {
	if n.kind != kindText {
		hint := ""
		if len(s.enum) == 0 && n.kind != kindList && n.kind != kindObject {
			hint = fmt.Sprintf("put it in quotes: %q", n.text)
		}
		c.mistyped(n, s, path, hint)
		return nil
	}
	value := n.text
	limit := s.maxText
	if limit == 0 {
		limit = maxLine
	}
	hint := func() string {
		if s.hint != nil {
			return s.hint(n)
		}
		return ""
	}
	switch points := utf8.RuneCountInString(value); {
	case len(s.enum) > 0 && !slices.Contains(s.enum, value):
		suggestion := hint()
		if near := nearest(value, s.enum); suggestion == "" && near != "" {
			suggestion = "did you mean " + near + "?"
		}
		c.report(n.at, path, fmt.Sprintf("%s must be %s, not %s", subject(path), alternatives(s.enum), quote(value)), suggestion)
	case len(s.enum) > 0:
		return value
	case strings.TrimSpace(value) == "" && s.filled:
		c.report(n.at, path, subject(path)+" must not be empty", hint())
	case points > limit:
		c.report(n.at, path, fmt.Sprintf("%s has %d characters; at most %d are allowed", subject(path), points, limit), "")
	case s.pattern != nil && !s.pattern.MatchString(value):
		c.report(n.at, path, fmt.Sprintf("%s must be %s, not %s", subject(path), s.rule, quote(value)), hint())
	default:
		return value
	}
	return nil
}

func (c *checker) number(n *node, s *shape, path []any) any {
	if n.kind != kindInteger && n.kind != kindNumber {
		c.mistyped(n, s, path, numberHint(n))
		return nil
	}
	if s.kind == shapeInteger && n.number != math.Trunc(n.number) {
		c.report(n.at, path, fmt.Sprintf("%s must be a whole number, not %s", subject(path), shorten(n.text)), "")
		return nil
	}
	switch {
	case s.min != nil && s.above && n.number <= *s.min:
		c.report(n.at, path, fmt.Sprintf("%s must be more than %v, not %s", subject(path), *s.min, shorten(n.text)), "")
	case s.min != nil && n.number < *s.min:
		c.report(n.at, path, fmt.Sprintf("%s must be at least %v, not %s", subject(path), *s.min, shorten(n.text)), "")
	case s.max != nil && n.number > *s.max:
		c.report(n.at, path, fmt.Sprintf("%s must be at most %v, not %s", subject(path), int64(*s.max), shorten(n.text)), shareHint(*s.max, n))
	case s.kind == shapeInteger:
		return int64(n.number)
	case n.kind == kindInteger:
		return n.integer
	default:
		return n.number
	}
	return nil
}

// maxSafe is the largest integer that every JSON reader keeps.
const maxSafe = 1<<53 - 1

// free takes any JSON value. What JSON readers would garble is refused, and
// int64 values of features are looked at by the field's own check.
func (c *checker) free(n *node, path []any) any {
	switch n.kind {
	case kindNull:
		return nil
	case kindBoolean:
		return n.boolean
	case kindText:
		return n.text
	case kindInteger:
		return n.integer
	case kindNumber:
		return n.number
	case kindOdd:
		c.report(n.at, path, fmt.Sprintf("YAML readers disagree about what %s is", shorten(n.text)), oddHint(n, nil))
		return nil
	case kindList:
		values := make([]any, len(n.items))
		for i, item := range n.items {
			values[i] = c.free(item, append(slices.Clip(path), i))
		}
		return values
	}
	values := make(map[string]any, len(n.entries))
	for _, e := range n.entries {
		values[e.key.text] = c.free(e.value, append(slices.Clip(path), e.key.text))
	}
	return values
}

// exact refuses integers that JSON readers would garble.
func (c *checker) exact(n *node, path []any) {
	if n.kind == kindInteger && (n.integer > maxSafe || n.integer < -maxSafe) || n.kind == kindNumber && integerText.MatchString(n.text) {
		c.report(n.at, path, fmt.Sprintf("%s is beyond ±(2^53−1), which JSON readers garble", shorten(n.text)), fmt.Sprintf("write it as text, in quotes: %q", n.text))
	}
	for i, item := range n.items {
		c.exact(item, append(slices.Clip(path), i))
	}
	for _, e := range n.entries {
		c.exact(e.value, append(slices.Clip(path), e.key.text))
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "one " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
