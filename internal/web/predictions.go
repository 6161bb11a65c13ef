package web

import (
	"encoding/json"
	"fmt"
	"math"

	"modelmanager.dev"
)

// numericItem is a number in a prediction: the prediction itself, or an item of
// one that is an array.
type numericItem struct {
	name string
	of   func(value json.RawMessage) float64
}

// numericItems are all the numbers of a prediction that has a fixed number of them.
func numericItems(field modelmanager.Field) []numericItem {
	numeric := func(f modelmanager.Field) bool {
		return (f.Type == modelmanager.Number || f.Type == modelmanager.Integer) && f.Format != modelmanager.FormatInt64
	}
	if numeric(field) {
		return []numericItem{{field.Name, func(value json.RawMessage) float64 { return numberIn(value) }}}
	}
	if field.Type != modelmanager.Array || field.Items == nil || !numeric(*field.Items) || field.Length == nil {
		return nil
	}
	var items []numericItem
	for i := range *field.Length {
		name := fmt.Sprintf("%s %d", field.Name, i+1)
		if i < len(field.Labels) {
			name = field.Name + " " + field.Labels[i]
		}
		items = append(items, numericItem{name, func(value json.RawMessage) float64 {
			var list []json.RawMessage
			if json.Unmarshal(value, &list) != nil || i >= len(list) {
				return math.NaN()
			}
			return numberIn(list[i])
		}})
	}
	return items
}

func numberIn(value json.RawMessage) float64 {
	var x *float64
	if json.Unmarshal(value, &x) != nil || x == nil {
		return math.NaN()
	}
	return *x
}

// answerWords writes an answer in one line.
func answerWords(values map[string]json.RawMessage, fields []modelmanager.Field) string {
	if values == nil {
		return "no answer"
	}
	text := ""
	for _, field := range fields {
		value, ok := values[field.Name]
		if !ok {
			continue
		}
		if text != "" {
			text += ", "
		}
		text += field.Name + ": " + withUnit(shortValue(value), field.Unit)
	}
	return text
}

// shortValue writes a value with numbers of few digits.
func shortValue(value json.RawMessage) string {
	if x := numberIn(value); !math.IsNaN(x) {
		return number(x)
	}
	var list []json.RawMessage
	if json.Unmarshal(value, &list) == nil && list != nil {
		text := ""
		for i, item := range list {
			if i > 0 {
				text += ", "
			}
			text += shortValue(item)
		}
		return "[" + text + "]"
	}
	return valueText(value)
}
