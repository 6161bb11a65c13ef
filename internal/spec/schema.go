package spec

import (
	"encoding/json"
	"slices"
)

// SchemaID names the JSON Schema of model.yaml.
const SchemaID = "https://modelmanager.dev/schema/model.yaml.json"

// Schema returns the JSON Schema (draft 2020-12) of model.yaml, for editors.
// It accepts every file that Parse accepts (but for nulls that take values of
// a template away), and refuses what Parse refuses about single keys; rules
// that span keys are Parse's alone.
func Schema() []byte {
	root := modelShape.schema()
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = SchemaID
	root["title"] = "model.yaml"
	required := root["required"]
	delete(root, "required") // a template may have what is missing
	root["if"] = map[string]any{"not": map[string]any{"required": []string{"extends"}}}
	root["then"] = map[string]any{"required": required}
	data, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(err) // a map of strings and numbers
	}
	return append(data, '\n')
}

func (s *shape) schema() map[string]any {
	schema := map[string]any{}
	if s.doc != "" {
		schema["description"] = s.doc
	}
	if s.fallback != nil {
		schema["default"] = s.fallback
	}
	if s.min != nil && s.above {
		schema["exclusiveMinimum"] = *s.min
	} else if s.min != nil {
		schema["minimum"] = *s.min
	}
	if s.max != nil {
		schema["maximum"] = *s.max
	}
	switch s.kind {
	case shapeScalar:
		schema["type"] = []string{"null", "boolean", "number", "string", "array"}
	case shapeText:
		s.textSchema(schema)
	case shapeBoolean:
		schema["type"] = "boolean"
	case shapeInteger:
		schema["type"] = "integer"
	case shapeNumber:
		schema["type"] = "number"
	case shapeTime:
		schema["type"], schema["pattern"] = "string", durationText.String()
	case shapeCPU:
		schema["type"], schema["pattern"], schema["exclusiveMinimum"] = []string{"string", "number"}, `^[0-9]+(\.[0-9]+)?m?$`, 0
		schema["maximum"] = maxCores
	case shapeBytes:
		schema["type"], schema["pattern"], schema["minimum"] = []string{"string", "number"}, `^[0-9]+(\.[0-9]+)?([kMGT]i?|Ki)?$`, minBytes
		schema["maximum"] = maxBytes
	case shapeList:
		schema["type"], schema["items"], schema["maxItems"] = "array", s.item.schema(), s.maxItems
		if s.minItems > 0 {
			schema["minItems"] = s.minItems
		}
	case shapeObject:
		s.objectSchema(schema)
	}
	return schema
}

func (s *shape) textSchema(schema map[string]any) {
	schema["type"] = "string"
	if len(s.enum) > 0 {
		schema["enum"] = s.enum
		if slices.Contains(s.enum, "null") { // with quotes and without, it means the same
			values := []any{nil}
			for _, value := range s.enum {
				values = append(values, value)
			}
			schema["type"], schema["enum"] = []string{"string", "null"}, values
		}
		return
	}
	schema["maxLength"] = maxLine
	if s.maxText > 0 {
		schema["maxLength"] = s.maxText
	}
	if s.pattern != nil {
		schema["pattern"] = s.pattern.String()
	} else if s.filled {
		schema["pattern"] = `\S`
	}
}

func (s *shape) objectSchema(schema map[string]any) {
	schema["type"] = "object"
	properties, required := map[string]any{}, []string{}
	for _, key := range s.keys {
		properties[key.name] = key.shape.schema()
		if key.required {
			required = append(required, key.name)
		}
	}
	if len(properties) > 0 {
		schema["properties"] = properties
	}
	if len(required) > 0 {
		schema["required"] = required
	}
	schema["additionalProperties"] = false
	if s.others != nil {
		schema["additionalProperties"] = s.others.schema()
		schema["propertyNames"] = map[string]any{"minLength": 1, "maxLength": 256}
	}
	if s.single {
		schema["minProperties"], schema["maxProperties"] = 1, 1
	}
}
