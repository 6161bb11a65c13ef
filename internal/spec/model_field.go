package spec

const maxFieldName = 64

// facets are the keys that say what values a field may have, of a feature, a
// prediction and an array's items alike.
func facets() []key {
	one := 1.0
	return []key{
		need("type", oneOf("What the values are.", "boolean", "integer", "number", "string", "array").hinting(typeHint)),
		may("format", oneOf("date or date-time of a string; int64 of an integer: the full range, a string in JSON.", "date", "date-time", "int64").hinting(formatHint)),
		may("minimum", number("The smallest value allowed.")),
		may("maximum", number("The largest value allowed.")),
		may("exclusiveMinimum", number("Values must be larger.")),
		may("exclusiveMaximum", number("Values must be smaller.")),
		may("multipleOf", &shape{kind: shapeNumber, doc: "Values must be a multiple of this.", min: new(float64), above: true}),
		may("minLength", integer("Of a string: characters at least.", 0, 1<<24)),
		may("maxLength", integer("Of a string: characters at most.", 0, 1<<24)),
		may("pattern", text("Of a string: a regular expression (RE2) that must match somewhere.").atMost(1000)),
		may("enum", list("All values allowed, in the order of training: the order of levels in the worker.", &shape{kind: shapeScalar}).items(1, 100000)),
		may("items", itemShape()),
		may("length", &shape{kind: shapeInteger, doc: "Of an array: how many items it has.", min: &one, max: ptr(100000)}),
		may("max_items", &shape{kind: shapeInteger, doc: "Of an array: how many items it has at most.", min: &one, max: ptr(1000000)}),
		may("labels", list("Of an array of fixed length: its items' names, for CSV columns.", text("").atMost(maxFieldName)).items(1, 100000)),
	}
}

func ptr(v float64) *float64 { return &v }

var fieldSynonyms = []string{
	"dtype", "write type", "datatype", "write type", "data_type", "write type", "kind", "write type",
	"min", "write minimum", "max", "write maximum", "ge", "write minimum", "le", "write maximum", "gt", "write exclusiveMinimum", "lt", "write exclusiveMaximum",
	"exclusive_minimum", "write exclusiveMinimum", "exclusive_maximum", "write exclusiveMaximum", "multiple_of", "write multipleOf",
	"min_length", "write minLength", "max_length", "write maxLength", "maxItems", "write max_items", "minItems", "write length if the number of items is fixed, else max_items",
	"range", "write minimum and maximum", "values", "write enum", "levels", "write enum", "categories", "write enum", "choices", "write enum", "allowed", "write enum", "options", "write enum",
	"regex", "write pattern", "desc", "write description", "label", "write description", "units", "write unit", "title", "write description",
	"null", "write nullable: true", "allow_null", "write nullable: true", "missing", "write nullable: true", "na", "write nullable: true",
	"required", "delete it: a feature is required unless it has a default", "size", "write length", "shape", "write length", "column", "write name", "id", "write name", "feature", "write name", "prediction", "write name",
	"classes", "write labels", "default_value", "write default", "element", "write items", "elements", "write items", "item", "write items",
}

func fieldName() key {
	return need("name", text("The column's name: at most 64 characters, not beginning with an underscore.").atMost(maxFieldName))
}

func featureShape() *shape {
	keys := []key{
		fieldName(),
		may("unit", text("Of the values: mm, EUR, kg/m².").atMost(100)),
		may("description", text("What it is, for people who fill it in.").atMost(2000)),
		may("nullable", boolean("Whether null is allowed.").byDefault(false)),
		may("optional", boolean("Whether a file may lack this column.").byDefault(false)),
		may("default", &shape{kind: shapeScalar, doc: "The value of an absent feature; may be null."}),
		may("unknown", oneOf("What becomes of a value outside enum: by default its row is rejected.", "null", "accept").hinting(unknownHint)),
	}
	return object("a feature", "", append(keys, facets()...)...).instead(fieldSynonyms...)
}

func predictionShape() *shape {
	keys := []key{
		fieldName(),
		may("unit", text("Of the values: mm, EUR, kg/m².").atMost(100)),
		may("description", text("What it is, for people who read it.").atMost(2000)),
		may("nullable", boolean("Whether null is allowed.").byDefault(false)),
	}
	return object("a prediction", "", append(keys, facets()...)...).instead(append([]string{
		"default", "delete it: only features have defaults", "optional", "delete it: every prediction is always there",
		"unknown", "delete it: a prediction outside its enum is an error"}, fieldSynonyms...)...)
}

// itemShape describes an array's items: like a field, without a name, and no
// array again.
func itemShape() *shape {
	s := object("items", "Of an array: what its items are.", may("nullable", boolean("Whether an item may be null.").byDefault(false)))
	s.keys = append(s.keys,
		need("type", oneOf("What the items are.", "boolean", "integer", "number", "string").hinting(typeHint)),
		may("format", oneOf("As of a field.", "date", "date-time", "int64").hinting(formatHint)),
		may("minimum", number("The smallest value allowed.")),
		may("maximum", number("The largest value allowed.")),
		may("exclusiveMinimum", number("Values must be larger.")),
		may("exclusiveMaximum", number("Values must be smaller.")),
		may("multipleOf", &shape{kind: shapeNumber, doc: "Values must be a multiple of this.", min: new(float64), above: true}),
		may("minLength", integer("Characters at least.", 0, 1<<24)),
		may("maxLength", integer("Characters at most.", 0, 1<<24)),
		may("pattern", text("A regular expression (RE2) that must match somewhere.").atMost(1000)),
		may("enum", list("All values allowed.", &shape{kind: shapeScalar}).items(1, 100000)),
	)
	return s.instead(append([]string{"name", "delete it: items have no names; give the array labels",
		"default", "delete it: a default belongs to the feature", "items", "arrays of arrays are not supported"}, fieldSynonyms...)...)
}
