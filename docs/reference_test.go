// Package docs tests that the documents say what the program does.
package docs

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"modelmanager.dev/internal/spec"
)

var update = flag.Bool("update", false, "write the generated parts of the documents")

const (
	begin = "<!-- generated: go test ./docs -update -->\n"
	end   = "<!-- end -->\n"
)

// TestModelYAML holds the table of keys in model-yaml.md against the schema.
func TestModelYAML(t *testing.T) {
	const path = "model-yaml.md"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	before, rest, found := strings.Cut(text, begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no generated part", path)
	}
	var root schema
	if err := json.Unmarshal(spec.Schema(), &root); err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| key | is | default | means |\n|---|---|---|---|\n")
	root.rows(&table, "")
	want := before + begin + table.String() + end + after
	if want == text {
		return
	}
	if !*update {
		t.Fatalf("%s has other keys than model.yaml; run go test ./docs -update", path)
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// schema is as much of a JSON Schema as the table needs.
type schema struct {
	Type        any               `json:"type"`
	Description string            `json:"description"`
	Default     any               `json:"default"`
	Enum        []any             `json:"enum"`
	Minimum     *float64          `json:"minimum"`
	Maximum     *float64          `json:"maximum"`
	Properties  map[string]schema `json:"properties"`
	Items       *schema           `json:"items"`
}

func (s schema) rows(b *strings.Builder, prefix string) {
	for _, key := range slices.Sorted(maps.Keys(s.Properties)) {
		property := s.Properties[key]
		value := ""
		if property.Default != nil {
			data, _ := json.Marshal(property.Default)
			value = "`" + strings.Trim(string(data), `"`) + "`"
		}
		fmt.Fprintf(b, "| `%s%s` | %s | %s | %s |\n", prefix, key, property.kind(), value, strings.ReplaceAll(property.Description, "|", `\|`))
		switch {
		case prefix+key == "predictions": // the same keys as features, but three
		case property.Items != nil && property.Items.Properties != nil:
			property.Items.rows(b, prefix+key+"[].")
		default:
			property.rows(b, prefix+key+".")
		}
	}
}

// kind is a type in a word or two.
func (s schema) kind() string {
	if len(s.Enum) > 0 {
		var values []string
		for _, value := range s.Enum {
			if value != nil { // beside the word null
				values = append(values, fmt.Sprint(value))
			}
		}
		return strings.Join(values, ", ")
	}
	kind := "any"
	switch t := s.Type.(type) {
	case string:
		kind = t
	case []any:
		var kinds []string
		for _, one := range t {
			kinds = append(kinds, fmt.Sprint(one))
		}
		kind = strings.Join(kinds, " or ")
	}
	kind = strings.NewReplacer("array", "list", "object", "map").Replace(kind)
	number := func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
	switch {
	case s.Minimum != nil && s.Maximum != nil:
		kind += ", " + number(*s.Minimum) + " to " + number(*s.Maximum)
	case s.Minimum != nil:
		kind += ", from " + number(*s.Minimum)
	}
	return kind
}

// TestWorker holds the worker in worker-protocol.md against the script that
// runs it.
func TestWorker(t *testing.T) {
	document, err := os.ReadFile("worker-protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("../test/script/testdata/worker-protocol.txtar")
	if err != nil {
		t.Fatal(err)
	}
	_, worker, _ := strings.Cut(string(document), "```python\n")
	worker, _, found := strings.Cut(worker, "```\n")
	if !found || !strings.HasSuffix(string(script), "-- by-hand/worker.py --\n"+worker) {
		t.Error("the script runs another worker than worker-protocol.md shows")
	}
}
