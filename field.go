package modelmanager

// Type is the type of a feature or a prediction, in JSON Schema's words.
type Type string

// The types of docs/data.md. An integer lies within ±(2^53−1) unless its format
// is int64; a number is a finite double.
const (
	Boolean Type = "boolean"
	Integer Type = "integer"
	Number  Type = "number"
	String  Type = "string"
	Array   Type = "array"
)

// Formats that change the meaning of a type.
const (
	FormatDate     = "date"      // of a string: RFC 3339 full-date
	FormatDateTime = "date-time" // of a string: RFC 3339 date-time
	FormatInt64    = "int64"     // of an integer: the full range, a string in JSON
)

// Field is a feature or a prediction: a named, typed column. Its JSON form is
// at once its form in model.yaml and, but for name, optional and unknown, a
// JSON Schema.
type Field struct {
	Name        string `json:"name,omitempty"`
	Type        Type   `json:"type"`
	Format      string `json:"format,omitempty"`
	Unit        string `json:"unit,omitempty"`
	Description string `json:"description,omitempty"`

	// Nullable allows null; only Default allows an absent JSON key, and only
	// Optional allows an absent column of a file.
	Nullable bool     `json:"nullable,omitempty"`
	Optional bool     `json:"optional,omitempty"`
	Default  *Default `json:"default,omitempty"`

	Minimum          *float64 `json:"minimum,omitempty"`
	Maximum          *float64 `json:"maximum,omitempty"`
	ExclusiveMinimum *float64 `json:"exclusiveMinimum,omitempty"`
	ExclusiveMaximum *float64 `json:"exclusiveMaximum,omitempty"`
	MultipleOf       *float64 `json:"multipleOf,omitempty"`
	MinLength        *int     `json:"minLength,omitempty"` // in Unicode code points
	MaxLength        *int     `json:"maxLength,omitempty"`
	Pattern          string   `json:"pattern,omitempty"` // RE2, not anchored

	// Enum lists the allowed values, in the order of training: that order is
	// the order of levels in the worker. Values are string, float64, int64 or bool.
	Enum []any `json:"enum,omitempty"`
	// Unknown says what becomes of a value outside Enum: "" (reject the row),
	// "null" or "accept" (the column is then a plain one, without levels).
	Unknown string `json:"unknown,omitempty"`

	// Of an array: its items, and its length, fixed or at most.
	Items    *Field   `json:"items,omitempty"`
	Length   *int     `json:"length,omitempty"`
	MaxItems *int     `json:"max_items,omitempty"`
	Labels   []string `json:"labels,omitempty"` // names of a fixed array's items, for CSV columns
}

// Default is the value of an absent feature; its Value may be nil, for null.
type Default struct{ Value any }
