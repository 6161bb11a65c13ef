package dataset

import "modelmanager.dev"

// JSONSchema describes a field's values in JSON as a JSON Schema (2020-12).
// Some rules of docs/data.md can't be said in it: duplicate keys, numbers beyond
// a double's range, half surrogate pairs, leap seconds and date-times outside of
// the years 0001 to 9999 in UTC are refused; multipleOf is of the double that a
// number becomes. An integer with format int64 may come as a string or, within
// ±(2^53−1), as a number.
func JSONSchema(field modelmanager.Field) map[string]any {
	schema := map[string]any{}
	put := func(key string, value any, present bool) {
		if present {
			schema[key] = value
		}
	}
	put("type", field.Type, true)
	put("description", field.Description, field.Description != "")
	put("minimum", field.Minimum, field.Minimum != nil)
	put("maximum", field.Maximum, field.Maximum != nil)
	put("exclusiveMinimum", field.ExclusiveMinimum, field.ExclusiveMinimum != nil)
	put("exclusiveMaximum", field.ExclusiveMaximum, field.ExclusiveMaximum != nil)
	put("multipleOf", field.MultipleOf, field.MultipleOf != nil)
	put("minLength", field.MinLength, field.MinLength != nil)
	put("maxLength", field.MaxLength, field.MaxLength != nil)
	put("pattern", field.Pattern, field.Pattern != "")
	put("default", field.Default, field.Default != nil)
	if len(field.Enum) > 0 && field.Unknown == "" {
		schema["enum"] = field.Enum
	}
	switch field.Type {
	case modelmanager.String:
		put("format", field.Format, field.Format != "")
	case modelmanager.Integer:
		if field.Format == modelmanager.FormatInt64 {
			return longSchema(schema, field)
		}
		put("minimum", -maxInteger, field.Minimum == nil || *field.Minimum < -maxInteger)
		put("maximum", maxInteger, field.Maximum == nil || *field.Maximum > maxInteger)
	case modelmanager.Array:
		schema["items"] = JSONSchema(*field.Items)
		length := field.Length
		if length == nil && len(field.Labels) > 0 {
			length = ptrTo(len(field.Labels))
		}
		put("minItems", length, length != nil)
		put("maxItems", length, length != nil)
		put("maxItems", field.MaxItems, field.MaxItems != nil)
	}
	return orNull(schema, field)
}

// longSchema allows an int64 as a string or as a number. JSON Schema can't
// compare strings by their value: bounds and enum hold for numbers alone.
func longSchema(number map[string]any, field modelmanager.Field) map[string]any {
	if field.Minimum == nil || *field.Minimum < -maxInteger {
		number["minimum"] = -maxInteger
	}
	if field.Maximum == nil || *field.Maximum > maxInteger {
		number["maximum"] = maxInteger
	}
	choices := []any{number, map[string]any{"type": "string", "pattern": "^-?(0|[1-9][0-9]{0,18})$"}}
	if field.Nullable {
		choices = append(choices, map[string]any{"type": "null"})
	}
	return map[string]any{"anyOf": choices}
}

func orNull(schema map[string]any, field modelmanager.Field) map[string]any {
	if !field.Nullable {
		return schema
	}
	schema["type"] = []any{field.Type, "null"}
	if values, ok := schema["enum"].([]any); ok {
		schema["enum"] = append(append([]any(nil), values...), nil)
	}
	return schema
}

// RowSchema describes a row of these fields as a JSON Schema.
func RowSchema(fields []modelmanager.Field) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, f := range fields {
		properties[f.Name] = JSONSchema(f)
		if f.Default == nil {
			required = append(required, f.Name)
		}
	}
	return map[string]any{
		"type": "object", "properties": properties, "required": required, "additionalProperties": false,
	}
}
