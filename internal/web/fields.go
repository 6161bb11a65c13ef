package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// fieldRow is a feature or a prediction, in words.
type fieldRow struct {
	modelmanager.Field
	Kind    string // "whole number"
	Allowed string // "0 to 20"
	Example string
}

func fieldRows(fields []modelmanager.Field, examples []spec.Example) []fieldRow {
	rows := make([]fieldRow, len(fields))
	for i, field := range fields {
		rows[i] = fieldRow{Field: field, Kind: kindWords(field), Allowed: allowedWords(field)}
		for _, example := range examples {
			if value, ok := example.Features[field.Name]; ok {
				rows[i].Example = valueText(value)
				break
			}
		}
	}
	return rows
}

// kindWords says what kind of value a field has.
func kindWords(field modelmanager.Field) string {
	switch {
	case field.Type == modelmanager.Array && field.Items != nil:
		kind := kindWords(*field.Items)
		switch {
		case field.Length != nil:
			return fmt.Sprintf("%d × %s", *field.Length, kind)
		case field.MaxItems != nil:
			return fmt.Sprintf("list of at most %d × %s", *field.MaxItems, kind)
		}
		return "list of " + kind
	case len(field.Enum) > 0:
		return "choice"
	case field.Type == modelmanager.Boolean:
		return "yes or no"
	case field.Type == modelmanager.Integer:
		return "whole number"
	case field.Format == modelmanager.FormatDate:
		return "date"
	case field.Format == modelmanager.FormatDateTime:
		return "date and time"
	case field.Type == modelmanager.String:
		return "text"
	}
	return string(field.Type)
}

// maxChoices is how many choices of a field are written out.
const maxChoices = 12

// allowedWords says which values a field takes.
func allowedWords(field modelmanager.Field) string {
	var parts []string
	if n := len(field.Enum); n > 0 {
		texts := make([]string, 0, maxChoices)
		for _, value := range field.Enum[:min(n, maxChoices)] {
			texts = append(texts, enumText(value))
		}
		if n > maxChoices {
			texts = append(texts, fmt.Sprintf("%d more", n-maxChoices))
			parts = append(parts, listed(texts, "and"))
		} else {
			parts = append(parts, listed(texts, "or"))
		}
		if field.Unknown != "" {
			parts = append(parts, "others count as unknown")
		}
	}
	if words := rangeWords(field); words != "" {
		parts = append(parts, words)
	}
	if field.MultipleOf != nil {
		parts = append(parts, "in steps of "+plain(*field.MultipleOf))
	}
	switch {
	case field.MinLength != nil && field.MaxLength != nil:
		parts = append(parts, fmt.Sprintf("%d to %d characters", *field.MinLength, *field.MaxLength))
	case field.MaxLength != nil:
		parts = append(parts, fmt.Sprintf("at most %d characters", *field.MaxLength))
	case field.MinLength != nil:
		parts = append(parts, fmt.Sprintf("at least %d characters", *field.MinLength))
	}
	if field.Pattern != "" {
		parts = append(parts, "of the form "+field.Pattern)
	}
	if field.Items != nil {
		if words := allowedWords(*field.Items); words != "" {
			parts = append(parts, "each "+words)
		}
	}
	if len(field.Labels) > 0 {
		parts = append(parts, "for "+listed(field.Labels, "and"))
	}
	if field.Nullable {
		parts = append(parts, "may be unknown")
	}
	if field.Default != nil {
		parts = append(parts, "if left out, "+enumText(field.Default.Value))
	}
	return strings.Join(parts, "; ")
}

func rangeWords(field modelmanager.Field) string {
	low, high := "", ""
	switch {
	case field.ExclusiveMinimum != nil:
		low = "more than " + plain(*field.ExclusiveMinimum)
	case field.Minimum != nil:
		low = "at least " + plain(*field.Minimum)
	}
	switch {
	case field.ExclusiveMaximum != nil:
		high = "less than " + plain(*field.ExclusiveMaximum)
	case field.Maximum != nil:
		high = "at most " + plain(*field.Maximum)
	}
	switch {
	case field.Minimum != nil && field.Maximum != nil && field.ExclusiveMinimum == nil && field.ExclusiveMaximum == nil:
		return plain(*field.Minimum) + " to " + plain(*field.Maximum)
	case low != "" && high != "":
		return low + ", " + high
	}
	return low + high
}

// plain writes a number as it would be typed.
func plain(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

// enumText writes a value of an enum or a default.
func enumText(value any) string {
	switch value := value.(type) {
	case nil:
		return "unknown"
	case bool:
		return yesNo(value)
	case float64:
		return plain(value)
	case string:
		if value == "" {
			return "“”"
		}
		return value
	}
	return fmt.Sprint(value)
}

// valueText writes a JSON value as people read it; numbers as they were given.
func valueText(data json.RawMessage) string {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return string(data)
	}
	switch value := value.(type) {
	case nil:
		return "unknown"
	case bool:
		return yesNo(value)
	case string:
		return value
	case json.Number:
		return value.String()
	case []any:
		texts := make([]string, len(value))
		for i, item := range value {
			texts[i] = fmt.Sprint(item)
			if item == nil {
				texts[i] = "unknown"
			}
		}
		return strings.Join(texts, ", ")
	}
	return string(data)
}
