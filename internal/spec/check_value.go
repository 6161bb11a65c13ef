package spec

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"modelmanager.dev"
)

// fits tells what is wrong with a value of a field, as the end of a sentence
// that begins with the value; "" if it fits. It is a light check of what a
// person wrote into a spec; rows of data are checked by package dataset.
func fits(f *modelmanager.Field, n *node) (problem, hint string) {
	if n.kind == kindNull {
		if f.Nullable {
			return "", ""
		}
		return "is not allowed: the field is not nullable", "write nullable: true if null is a value that the model understands"
	}
	if problem, hint := fitsType(f, n); problem != "" {
		return problem, hint
	}
	switch f.Type {
	case modelmanager.Number, modelmanager.Integer:
		value := n.number
		if n.kind == kindText {
			value, _ = strconv.ParseFloat(n.text, 64)
		}
		if problem := outOfBounds(f, value); problem != "" {
			return problem, ""
		}
	case modelmanager.String:
		if problem := unfitText(f, n.text); problem != "" {
			return problem, ""
		}
	}
	if len(f.Enum) > 0 && f.Unknown == "" && !inEnum(f, n) {
		return "is not in the enum", enumHint(f, n)
	}
	return "", ""
}

func fitsType(f *modelmanager.Field, n *node) (problem, hint string) {
	switch f.Type {
	case modelmanager.Boolean:
		if n.kind != kindBoolean {
			return "is not a boolean", booleanHint(n)
		}
	case modelmanager.Integer:
		return fitsInteger(f, n)
	case modelmanager.Number:
		if n.kind != kindInteger && n.kind != kindNumber {
			return "is not a number", numberHint(n)
		}
	case modelmanager.String:
		if n.kind == kindList || n.kind == kindObject {
			return "is not text", ""
		}
		if n.kind != kindText {
			return "is not text", fmt.Sprintf("put it in quotes: %q", n.text)
		}
	case modelmanager.Array:
		return fitsArray(f, n)
	}
	return "", ""
}

func fitsInteger(f *modelmanager.Field, n *node) (problem, hint string) {
	large := f.Format == modelmanager.FormatInt64
	switch n.kind {
	case kindInteger:
		if !large && (n.integer > maxSafe || n.integer < -maxSafe) {
			return "is beyond ±(2^53−1), which JSON readers garble", "write format: int64 to allow it"
		}
		return "", ""
	case kindNumber:
		if n.number != math.Trunc(n.number) {
			return "is not a whole number", "write type: number to allow fractions"
		}
		if math.Abs(n.number) > maxSafe {
			return "is too large for an integer", ""
		}
		return "", ""
	case kindText:
		if large {
			if _, err := strconv.ParseInt(n.text, 10, 64); err == nil {
				return "", ""
			}
		}
	}
	return "is not a whole number", numberHint(n)
}

func fitsArray(f *modelmanager.Field, n *node) (problem, hint string) {
	if n.kind != kindList {
		return "is not a list", ""
	}
	length := f.Length
	if length == nil && f.MaxItems == nil && len(f.Labels) > 0 {
		labels := len(f.Labels)
		length = &labels
	}
	if length != nil && len(n.items) != *length {
		return fmt.Sprintf("has %s, not %d", count(len(n.items), "item"), *length), ""
	}
	if f.MaxItems != nil && len(n.items) > *f.MaxItems {
		return fmt.Sprintf("has %s, more than %d", count(len(n.items), "item"), *f.MaxItems), ""
	}
	if f.Items == nil || f.Items.Type == modelmanager.Array {
		return "", ""
	}
	for i, item := range n.items {
		if problem, hint := fits(f.Items, item); problem != "" {
			return fmt.Sprintf("has an item that doesn't fit: %s, number %d, %s", valueText(item), i+1, problem), hint
		}
	}
	return "", ""
}

func outOfBounds(f *modelmanager.Field, value float64) string {
	switch {
	case f.Minimum != nil && value < *f.Minimum:
		return fmt.Sprintf("is less than the minimum, %v", *f.Minimum)
	case f.Maximum != nil && value > *f.Maximum:
		return fmt.Sprintf("is more than the maximum, %v", *f.Maximum)
	case f.ExclusiveMinimum != nil && value <= *f.ExclusiveMinimum:
		return fmt.Sprintf("is not more than the exclusiveMinimum, %v", *f.ExclusiveMinimum)
	case f.ExclusiveMaximum != nil && value >= *f.ExclusiveMaximum:
		return fmt.Sprintf("is not less than the exclusiveMaximum, %v", *f.ExclusiveMaximum)
	case f.MultipleOf != nil && *f.MultipleOf > 0:
		times := value / *f.MultipleOf
		if math.Abs(times-math.Round(times)) > 1e-9*max(1, math.Abs(times)) {
			return fmt.Sprintf("is not a multiple of %v", *f.MultipleOf)
		}
	}
	return ""
}

func unfitText(f *modelmanager.Field, text string) string {
	switch f.Format {
	case modelmanager.FormatDate:
		if _, err := time.Parse(time.DateOnly, text); err != nil {
			return "is not a date; write YYYY-MM-DD"
		}
		return ""
	case modelmanager.FormatDateTime:
		if _, err := time.Parse(time.RFC3339Nano, strings.ToUpper(text)); err != nil {
			return "is not a date and time; write YYYY-MM-DDThh:mm:ssZ"
		}
		return ""
	}
	points := utf8.RuneCountInString(text)
	switch {
	case f.MinLength != nil && points < *f.MinLength:
		return fmt.Sprintf("is shorter than minLength, %d", *f.MinLength)
	case f.MaxLength != nil && points > *f.MaxLength:
		return fmt.Sprintf("is longer than maxLength, %d", *f.MaxLength)
	case f.Pattern != "":
		if pattern, err := regexp.Compile(f.Pattern); err == nil && !pattern.MatchString(text) {
			return "doesn't match the pattern " + quote(f.Pattern)
		}
	}
	return ""
}

func inEnum(f *modelmanager.Field, n *node) bool {
	for _, allowed := range f.Enum {
		switch allowed := allowed.(type) {
		case string:
			if n.kind == kindText && n.text == allowed {
				return true
			}
			if f.Type == modelmanager.Integer && n.kind == kindInteger && n.text == allowed {
				return true
			}
		case bool:
			if n.kind == kindBoolean && n.boolean == allowed {
				return true
			}
		case int64:
			if n.kind == kindInteger && n.integer == allowed || n.kind == kindNumber && n.number == float64(allowed) ||
				n.kind == kindText && f.Type == modelmanager.Integer && n.text == strconv.FormatInt(allowed, 10) {
				return true
			}
		case float64:
			if (n.kind == kindInteger || n.kind == kindNumber) && n.number == allowed {
				return true
			}
		}
	}
	return false
}

func enumHint(f *modelmanager.Field, n *node) string {
	var names []string
	for _, value := range f.Enum {
		names = append(names, fmt.Sprint(value))
	}
	if near := nearest(n.text, names); near != "" {
		return "did you mean " + near + "?"
	}
	if len(names) > 10 {
		return ""
	}
	return "the enum has " + alternativesAnd(names)
}

// valueText writes a value for a message.
func valueText(n *node) string {
	switch n.kind {
	case kindNull:
		return "null"
	case kindText:
		return quote(n.text)
	case kindList:
		return "that is a list"
	case kindObject:
		return "that is a mapping"
	}
	return shorten(n.text)
}
