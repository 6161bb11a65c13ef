package spec

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"modelmanager.dev"
)

// facetTypes says which types a key of a field belongs to; keys that are not
// in it belong to all.
var facetTypes = map[string][]modelmanager.Type{
	"minimum":          {modelmanager.Number, modelmanager.Integer},
	"maximum":          {modelmanager.Number, modelmanager.Integer},
	"exclusiveMinimum": {modelmanager.Number, modelmanager.Integer},
	"exclusiveMaximum": {modelmanager.Number, modelmanager.Integer},
	"multipleOf":       {modelmanager.Number, modelmanager.Integer},
	"minLength":        {modelmanager.String},
	"maxLength":        {modelmanager.String},
	"pattern":          {modelmanager.String},
	"format":           {modelmanager.String, modelmanager.Integer},
	"enum":             {modelmanager.String, modelmanager.Number, modelmanager.Integer, modelmanager.Boolean},
	"unknown":          {modelmanager.String, modelmanager.Number, modelmanager.Integer},
	"items":            {modelmanager.Array},
	"length":           {modelmanager.Array},
	"max_items":        {modelmanager.Array},
	"labels":           {modelmanager.Array},
}

func (c *checker) fields(group string, fields []modelmanager.Field) {
	for i := range fields {
		f := &fields[i]
		c.fieldName(f.Name, group, i, "name")
		if f.Type == "" {
			continue
		}
		c.field(f, group, i)
		if f.Type == modelmanager.Array {
			c.array(f, group, i)
		}
		c.absence(f, group, i)
	}
}

func (c *checker) fieldName(name string, path ...any) {
	switch {
	case !c.set(path...):
	case name == "":
		c.fault("a name must not be empty", "", path...)
	case strings.HasPrefix(name, "_"):
		c.fault(fmt.Sprintf("the name %s begins with an underscore; such names are for columns that Model Manager adds", quote(name)), "did you mean "+quote(strings.TrimLeft(name, "_"))+"?", path...)
	case hasControl(name):
		c.fault(fmt.Sprintf("the name %s has an invisible character", quote(name)), "", path...)
	case strings.TrimSpace(name) != name:
		c.fault(fmt.Sprintf("the name %s begins or ends with a space", quote(name)), "write "+quote(strings.TrimSpace(name)), path...)
	}
}

// field checks a field's facets, of an array's items too.
func (c *checker) field(f *modelmanager.Field, path ...any) {
	n, _ := c.root.find(path)
	for _, e := range n.entries {
		types := facetTypes[e.key.text]
		if types != nil && !slices.Contains(types, f.Type) {
			inner := append(slices.Clip(path), e.key.text)
			c.fault(fmt.Sprintf("`%s` doesn't go with type: %s", e.key.text, f.Type), facetHint(e.key.text, f.Type), inner...)
		}
	}
	in := func(key string) []any { return append(slices.Clip(path), key) }
	switch {
	case f.Type == modelmanager.String && f.Format == modelmanager.FormatInt64:
		c.fault("format: int64 goes with type: integer", "", in("format")...)
	case f.Type == modelmanager.Integer && (f.Format == modelmanager.FormatDate || f.Format == modelmanager.FormatDateTime):
		c.fault(fmt.Sprintf("format: %s goes with type: string", f.Format), "write type: string", in("format")...)
	case f.Type == modelmanager.String && f.Format != "":
		for _, key := range []string{"minLength", "maxLength", "pattern"} {
			if c.set(in(key)...) {
				c.fault(fmt.Sprintf("`%s` doesn't go with format: %s", key, f.Format), "delete it", in(key)...)
			}
		}
	}
	c.bounds(f, path)
	if f.Pattern != "" {
		if _, err := regexp.Compile(f.Pattern); err != nil {
			c.fault("`pattern` is not a regular expression: "+strings.TrimPrefix(err.Error(), "error parsing regexp: "), "the syntax is RE2's, without look-ahead and back-references", in("pattern")...)
		}
	}
	c.enum(f, path)
}

func facetHint(key string, is modelmanager.Type) string {
	switch {
	case is == modelmanager.Array && slices.Contains([]string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "enum", "pattern", "format", "minLength", "maxLength"}, key):
		return "put it under items"
	case (key == "minimum" || key == "maximum") && is == modelmanager.String:
		return "for the length of a text write minLength and maxLength"
	case key == "minLength" || key == "maxLength":
		if is == modelmanager.Array {
			return "write length or max_items"
		}
		return "write minimum and maximum"
	case key == "length" && is == modelmanager.String:
		return "write maxLength"
	case key == "items" || key == "length" || key == "max_items" || key == "labels":
		return "write type: array, or delete it"
	}
	return "delete it"
}

func (c *checker) bounds(f *modelmanager.Field, path []any) {
	in := func(key string) []any { return append(slices.Clip(path), key) }
	bad := func(lowKey, highKey string, low, high *float64, orEqual bool) {
		if low != nil && high != nil && (*low > *high || orEqual && *low == *high) {
			c.fault(fmt.Sprintf("no value fits: `%s` is %v and `%s` is %v", lowKey, *low, highKey, *high), "", in(highKey)...)
		}
	}
	bad("minimum", "maximum", f.Minimum, f.Maximum, false)
	bad("exclusiveMinimum", "maximum", f.ExclusiveMinimum, f.Maximum, true)
	bad("minimum", "exclusiveMaximum", f.Minimum, f.ExclusiveMaximum, true)
	bad("exclusiveMinimum", "exclusiveMaximum", f.ExclusiveMinimum, f.ExclusiveMaximum, true)
	if f.MinLength != nil && f.MaxLength != nil && *f.MinLength > *f.MaxLength {
		c.fault(fmt.Sprintf("no text fits: `minLength` is %d and `maxLength` is %d", *f.MinLength, *f.MaxLength), "", in("maxLength")...)
	}
	if f.Type == modelmanager.Integer && f.Minimum != nil && f.Maximum != nil && math.Ceil(*f.Minimum) > math.Floor(*f.Maximum) && *f.Minimum <= *f.Maximum {
		c.fault(fmt.Sprintf("no whole number lies between `minimum`, %v, and `maximum`, %v", *f.Minimum, *f.Maximum), "", in("maximum")...)
	}
}

// enum checks that an enum's values are values of the field, each there once.
func (c *checker) enum(f *modelmanager.Field, path []any) {
	at := append(slices.Clip(path), "enum")
	n, found := c.root.find(at)
	if !found || n.kind != kindList || f.Type == modelmanager.Array {
		return
	}
	plain := *f
	plain.Enum, plain.Nullable = nil, true
	seen := map[string]int{}
	for i, item := range n.items {
		inner := append(slices.Clip(at), i)
		if item.kind == kindNull {
			hint := "delete it, and write nullable: true beside enum"
			if f.Nullable {
				hint = "delete it: nullable: true says it already"
			}
			if item.text != "" && item.text != "~" && f.Type == modelmanager.String {
				hint += fmt.Sprintf("; if it is a text, put it in quotes: %q", item.text)
			}
			c.fault("null is not a value of an enum", hint, inner...)
			continue
		}
		if problem, hint := fits(&plain, item); problem != "" {
			c.fault(fmt.Sprintf("the enum's value %s %s", valueText(item), problem), hint, inner...)
			continue
		}
		key := canonicalValue(f, item)
		if first, there := seen[key]; there {
			c.fault(fmt.Sprintf("the enum has %s twice", valueText(item)), fmt.Sprintf("first as item %d; delete one", first+1), inner...)
			continue
		}
		seen[key] = i
	}
}

// canonicalValue writes equal values alike: 1 and 1.0.
func canonicalValue(f *modelmanager.Field, n *node) string {
	if n.kind == kindInteger {
		return fmt.Sprint(n.integer)
	}
	if n.kind == kindNumber && n.number == math.Trunc(n.number) && math.Abs(n.number) < maxSafe {
		return fmt.Sprint(int64(n.number))
	}
	if n.kind == kindNumber {
		return fmt.Sprint(n.number)
	}
	return n.text
}

// array checks an array's length and what its items are.
func (c *checker) array(f *modelmanager.Field, group string, i int) {
	if f.Items == nil {
		if !c.set(group, i, "items") {
			c.fault("an array needs `items`", "write items: {type: number}", group, i, "items")
		}
	} else if f.Items.Type != "" {
		c.field(f.Items, group, i, "items")
	}
	length, most, labels := c.set(group, i, "length"), c.set(group, i, "max_items"), c.set(group, i, "labels")
	switch {
	case length && most:
		c.fault("an array has `length` or `max_items`, not both", "length: every array has that many items; max_items: at most that many", group, i, "max_items")
	case labels && most:
		c.fault("`labels` name the items of an array of fixed length, but max_items leaves it open", "write length, or delete labels", group, i, "labels")
	case !length && !most && !labels:
		c.fault("an array needs `length` or `max_items`", "length: every array has that many items; max_items: at most that many", group, i)
	case length && labels && f.Length != nil && len(f.Labels) > 0 && *f.Length != len(f.Labels):
		c.fault(fmt.Sprintf("`length` is %d, but there are %s", *f.Length, count(len(f.Labels), "label")), "", group, i, "labels")
	}
	seen := map[string]bool{}
	for j, label := range f.Labels {
		c.fieldLabel(label, seen[label], group, i, "labels", j)
		seen[label] = true
	}
}

func (c *checker) fieldLabel(label string, twice bool, path ...any) {
	switch {
	case strings.TrimSpace(label) == "" || hasControl(label):
		c.fault("a label must be visible text", "", path...)
	case twice:
		c.fault(fmt.Sprintf("the label %s is there twice", quote(label)), "", path...)
	}
}

// absence checks default, optional and unknown, which say what becomes of
// values that are missing or new.
func (c *checker) absence(f *modelmanager.Field, group string, i int) {
	if n, found := c.root.find([]any{group, i, "default"}); found && group == "features" {
		plain := *f
		plain.Nullable = true
		if f.Unknown == "null" {
			plain.Unknown = ""
		}
		if problem, hint := fits(&plain, n); problem != "" {
			c.fault(fmt.Sprintf("the default %s %s", valueText(n), problem), hint, group, i, "default")
		}
	}
	if f.Optional && !f.Nullable && f.Default == nil && c.clean(pathText([]any{group, i, "default"})) {
		c.fault(fmt.Sprintf("%s is optional, but has no value for files that lack it", quote(f.Name)), "give it a default, or write nullable: true", group, i, "optional")
	}
	if f.Unknown != "" && !c.set(group, i, "enum") {
		c.fault("`unknown` says what becomes of values outside `enum`, but there is no enum", "", group, i, "unknown")
	}
	if f.Unknown == "null" && !f.Nullable && !(f.Default != nil && f.Default.Value == nil) {
		c.fault("unknown: null turns unknown values into null, but the feature is not nullable", "write nullable: true", group, i, "unknown")
	}
}
