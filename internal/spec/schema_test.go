package spec

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/tools/txtar"
	"pgregory.net/rapid"
)

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(SchemaID, document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile(SchemaID)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// plain writes a tree as the values that a YAML reader gives an editor.
func plain(n *node) any {
	switch n.kind {
	case kindBoolean:
		return n.boolean
	case kindInteger, kindNumber:
		return json.Number(n.text)
	case kindText, kindOdd:
		return n.text
	case kindList:
		values := make([]any, len(n.items))
		for i, item := range n.items {
			values[i] = plain(item)
		}
		return values
	case kindObject:
		values := map[string]any{}
		for _, e := range n.entries {
			values[e.key.text] = plain(e.value)
		}
		return values
	}
	return nil
}

// shapeProblems are those that a JSON Schema can see.
func shapeProblems(root *node) []Problem {
	c := &checker{root: root, base: root.get("extends") != nil}
	c.shaped(root, modelShape, nil)
	if run := root.get("run"); run != nil && run.kind == kindObject && len(run.entries) != 1 {
		c.report(run.at, []any{"run"}, "exactly one", "")
	}
	return c.problems
}

// TestSchemaAgrees mutates a valid file at random: the JSON Schema must refuse
// it exactly when the loader finds something wrong with single keys.
func TestSchemaAgrees(t *testing.T) {
	schema := compileSchema(t)
	data, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	root, problems := readTree("model.yaml", data)
	if root == nil {
		t.Fatal(problems)
	}
	// Made anew for each use: a mapping that is put in twice would be changed in
	// both places, or in itself.
	others := func() []any {
		return []any{
			nil, true, "text", "", " ", "x:y", "500m", "12Mi", "30s", "-1", "a b", json.Number("0"), json.Number("-1"), json.Number("2.5"), json.Number("7"), json.Number("100000000000000"),
			[]any{}, []any{"a"}, []any{json.Number("1")}, map[string]any{}, map[string]any{"name": "x"}, map[string]any{"type": "number"}, "date", "python", "batch", "number", "canary",
		}
	}
	keys := []string{"nmae", "name", "type", "python", "command", "minimum", "env", "uri", "x y", "rows"}
	rapid.Check(t, func(r *rapid.T) {
		value := plain(root)
		for range rapid.IntRange(1, 3).Draw(r, "mutations") {
			mutate(r, &value, others, keys)
		}
		object, ok := value.(map[string]any)
		if !ok {
			r.Skip("not a mapping")
		}
		problems := shapeProblems(jsonNode(object))
		err := schema.Validate(object)
		if (err == nil) != (len(problems) == 0) {
			text, _ := json.Marshal(object)
			r.Fatalf("the loader says %v\nthe schema says %v\nof %s", Problems(problems), err, text)
		}
	})
}

// mutate changes one random value below: replaces it, deletes it or adds a key.
func mutate(r *rapid.T, value *any, others func() []any, keys []string) {
	switch v := (*value).(type) {
	case map[string]any:
		names := sortedKeys(v)
		switch action := rapid.IntRange(0, 9).Draw(r, "action"); {
		case action == 0 || len(names) == 0:
			v[rapid.SampledFrom(keys).Draw(r, "key")] = rapid.SampledFrom(others()).Draw(r, "value")
		case action == 1:
			delete(v, rapid.SampledFrom(names).Draw(r, "deleted"))
		default:
			name := rapid.SampledFrom(names).Draw(r, "name")
			inner := v[name]
			mutate(r, &inner, others, keys)
			v[name] = inner
		}
	case []any:
		if len(v) > 0 && rapid.IntRange(0, 9).Draw(r, "into") > 0 {
			mutate(r, &v[rapid.IntRange(0, len(v)-1).Draw(r, "index")], others, keys)
			return
		}
		*value = rapid.SampledFrom(others()).Draw(r, "instead of a list")
	default:
		*value = rapid.SampledFrom(others()).Draw(r, "instead")
	}
}

// TestSchemaAccepts checks that whatever Parse accepts, the schema does.
func TestSchemaAccepts(t *testing.T) {
	schema := compileSchema(t)
	archives, _ := filepath.Glob("testdata/mistakes/*.txtar")
	accepted := 0
	for _, name := range archives {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		root, problems := readTree(name, archive.Files[0].Data)
		if root == nil || len(problems) > 0 {
			continue
		}
		err = schema.Validate(plain(root))
		if len(shapeProblems(root)) == 0 {
			accepted++
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if accepted < 5 {
		t.Errorf("only %d files to compare", accepted)
	}
	for name, opts := range initCases() {
		opts.Language = "python"
		files, err := Init(opts)
		if err != nil {
			t.Fatal(err)
		}
		root, _ := readTree(name, files[0].Data)
		if err := schema.Validate(plain(root)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
