package data

import (
	"encoding/json"
	"os"
	"path/filepath"

	"modelmanager.dev"
)

// model is one model of the server.
type model struct {
	name     string
	language string // python or r: what has to be installed
	run      string // the run block, as JSON
	folder   string // in testdata
	features []modelmanager.Field
	predicts []modelmanager.Field
	example  string // features, as JSON
}

const (
	pandas = "echo-pandas"
	plain  = "echo-plain"
	inR    = "echo-r"
)

// echoes are the languages that every row is sent to.
var echoes = []string{pandas, plain, inR}

func models() []model {
	all := []model{
		{name: pandas, language: "python", run: `{"python": "predict.py:predict"}`},
		{name: plain, language: "python", run: `{"python": "predict.py:predict"}`},
		{name: inR, language: "r", run: `{"r": "predict.R:predict"}`},
	}
	for i := range all {
		all[i].folder = all[i].name
		all[i].features, all[i].predicts = features(), echoed(features())
		all[i].example = exampleRow
	}
	all = append(all, answerModels()...)
	var here []model
	for _, m := range all {
		if missing(m.language) == "" {
			here = append(here, m)
		}
	}
	return here
}

func languageOf(name string) string {
	if name == inR {
		return "r"
	}
	return "python"
}

// features has each type, each both with and without null.
func features() []modelmanager.Field {
	number := &modelmanager.Field{Type: modelmanager.Number}
	text := &modelmanager.Field{Type: modelmanager.String}
	long := &modelmanager.Field{Type: modelmanager.Integer, Format: modelmanager.FormatInt64}
	day := modelmanager.FormatDate
	at := modelmanager.FormatDateTime
	west := []any{"west", "east"} // not in the order of the alphabet
	return []modelmanager.Field{
		{Name: "flag", Type: modelmanager.Boolean},
		{Name: "flag_n", Type: modelmanager.Boolean, Nullable: true},
		{Name: "count", Type: modelmanager.Integer},
		{Name: "count_n", Type: modelmanager.Integer, Nullable: true},
		{Name: "long", Type: modelmanager.Integer, Format: modelmanager.FormatInt64},
		{Name: "long_n", Type: modelmanager.Integer, Format: modelmanager.FormatInt64, Nullable: true},
		{Name: "size", Type: modelmanager.Number},
		{Name: "size_n", Type: modelmanager.Number, Nullable: true},
		{Name: "part", Type: modelmanager.Number, Minimum: new(0.0), Maximum: new(1.0), Nullable: true},
		{Name: "text", Type: modelmanager.String},
		{Name: "text_n", Type: modelmanager.String, Nullable: true},
		{Name: "day", Type: modelmanager.String, Format: day},
		{Name: "day_n", Type: modelmanager.String, Format: day, Nullable: true},
		{Name: "at", Type: modelmanager.String, Format: at},
		{Name: "at_n", Type: modelmanager.String, Format: at, Nullable: true},
		{Name: "side", Type: modelmanager.String, Enum: west},
		{Name: "side_n", Type: modelmanager.String, Enum: west, Nullable: true},
		{Name: "side_null", Type: modelmanager.String, Enum: west, Unknown: "null", Nullable: true},
		{Name: "side_any", Type: modelmanager.String, Enum: west, Unknown: "accept"},
		{Name: "grade", Type: modelmanager.Integer, Enum: []any{int64(3), int64(1)}, Nullable: true},
		{Name: "pair", Type: modelmanager.Array, Items: number, Length: new(2), Nullable: true},
		{Name: "tags", Type: modelmanager.Array, Items: text, MaxItems: new(3), Nullable: true},
		{Name: "longs", Type: modelmanager.Array, Items: long, MaxItems: new(3), Nullable: true},
		{Name: "filled", Type: modelmanager.Number, Default: &modelmanager.Default{Value: 0.5}},
		{Name: "filled_null", Type: modelmanager.String, Default: &modelmanager.Default{}},
	}
}

// exampleRow is the row that every case changes in one place.
const exampleRow = `{"flag": true, "flag_n": true, "count": 1, "count_n": 1, "long": "1", "long_n": "1", "size": 1.5, "size_n": 1.5,
	"part": 0.5, "text": "a", "text_n": "a", "day": "2024-01-02", "day_n": "2024-01-02", "at": "2024-01-02T03:04:05Z", "at_n": "2024-01-02T03:04:05Z",
	"side": "east", "side_n": "east", "side_null": "east", "side_any": "east", "grade": 1, "pair": [1, 2.5], "tags": ["x", "y"],
	"longs": ["1", "-2"], "filled": 1, "filled_null": "a"}`

// echoed returns the predictions of a model that echoes features.
func echoed(features []modelmanager.Field) []modelmanager.Field {
	var predictions []modelmanager.Field
	for _, f := range features {
		predictions = append(predictions, modelmanager.Field{Name: "saw_" + f.Name, Type: modelmanager.String})
		back := f
		back.Name, back.Nullable = "back_"+f.Name, true
		back.Optional, back.Default = false, nil
		if back.Unknown != "" {
			back.Enum, back.Unknown = nil, ""
		}
		predictions = append(predictions, back)
	}
	return predictions
}

// columnTypes are the types that docs/data.md promises for a feature's column,
// whatever is in it. (Without pandas a value has a type, and a column none:
// null is NoneType.)
var columnTypes = map[string]map[string]string{
	"flag":        {pandas: "bool", plain: "bool", inR: "logical"},
	"flag_n":      {pandas: "boolean", plain: "bool", inR: "logical"},
	"count":       {pandas: "int64", plain: "int", inR: "numeric"},
	"count_n":     {pandas: "Int64", plain: "int", inR: "numeric"},
	"long":        {pandas: "int64", plain: "int", inR: "numeric"},
	"long_n":      {pandas: "Int64", plain: "int", inR: "numeric"},
	"size":        {pandas: "float64", plain: "float", inR: "numeric"},
	"size_n":      {pandas: "float64", plain: "float", inR: "numeric"},
	"part":        {pandas: "float64", plain: "float", inR: "numeric"},
	"text":        {pandas: "str", plain: "str", inR: "character"},
	"text_n":      {pandas: "str", plain: "str", inR: "character"},
	"day":         {pandas: "datetime64[us]", plain: "date", inR: "Date"},
	"day_n":       {pandas: "datetime64[us]", plain: "date", inR: "Date"},
	"at":          {pandas: "datetime64[us, UTC]", plain: "datetime", inR: "POSIXct"},
	"at_n":        {pandas: "datetime64[us, UTC]", plain: "datetime", inR: "POSIXct"},
	"side":        {pandas: "category[west,east]", plain: "str", inR: "factor[west,east]"},
	"side_n":      {pandas: "category[west,east]", plain: "str", inR: "factor[west,east]"},
	"side_null":   {pandas: "category[west,east]", plain: "str", inR: "factor[west,east]"},
	"side_any":    {pandas: "str", plain: "str", inR: "character"},
	"grade":       {pandas: "category[3,1]", plain: "int", inR: "factor[3,1]"},
	"pair":        {pandas: "object", plain: "list", inR: "list"},
	"tags":        {pandas: "object", plain: "list", inR: "list"},
	"longs":       {pandas: "object", plain: "list", inR: "list"},
	"filled":      {pandas: "float64", plain: "float", inR: "numeric"},
	"filled_null": {pandas: "str", plain: "str", inR: "character"},
}

// writeModels writes the models' folders.
func writeModels(dir string) error {
	for _, m := range models() {
		folder := filepath.Join(dir, m.name)
		if err := os.CopyFS(folder, os.DirFS(filepath.Join("testdata", m.folder))); err != nil {
			return err
		}
		spec, err := json.MarshalIndent(map[string]any{ // JSON is YAML
			"name":        m.name,
			"summary":     "A model of the tests.",
			"owner":       "tests@example.org",
			"features":    m.features,
			"predictions": m.predicts,
			"run":         json.RawMessage(m.run),
			"examples":    []any{map[string]any{"features": json.RawMessage(m.example)}},
			"scale":       map[string]any{"max": 1},
		}, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, "model.yaml"), spec, 0o600); err != nil {
			return err
		}
	}
	return nil
}
