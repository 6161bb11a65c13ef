package api_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/problem"
)

// TestTheTablesOfTheDocument holds docs/api.md against the code.
func TestTheTablesOfTheDocument(t *testing.T) {
	const path = "../../docs/api.md"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := replaced(t, string(data), "codes", tableOfCodes())
	golden(t, path, []byte(replaced(t, text, "calls", tableOfCalls(t))))
}

func replaced(t *testing.T, text, name, table string) string {
	t.Helper()
	begin, end := "<!-- "+name+": go test ./internal/api -update -->\n", "<!-- end -->\n"
	before, rest, found := strings.Cut(text, begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("the document has no generated part %s", name)
	}
	return before + begin + table + end + after
}

func tableOfCodes() string {
	var b strings.Builder
	b.WriteString("| code | status | means |\n|---|---|---|\n")
	for _, code := range problem.Codes() {
		fmt.Fprintf(&b, "| `%s` | %d | %s |\n", code, problem.Status(code), problem.Title(code))
	}
	return b.String()
}

func tableOfCalls(t *testing.T) string {
	doc, _ := document(t)
	var b strings.Builder
	b.WriteString("| call | does |\n|---|---|\n")
	paths := doc["paths"].(map[string]any)
	for _, path := range sorted(keysOf(paths)) {
		for _, method := range []string{"get", "post", "put", "delete"} {
			operation, ok := paths[path].(map[string]any)[method].(map[string]any)
			if !ok {
				continue
			}
			var query []string
			parameters, _ := operation["parameters"].([]any)
			for _, value := range parameters {
				if parameter := value.(map[string]any); parameter["in"] == "query" {
					query = append(query, fmt.Sprint(parameter["name"]))
				}
			}
			slices.Sort(query)
			call := strings.ToUpper(method) + " " + path
			if len(query) > 0 {
				call += "?" + strings.Join(query, "=&") + "="
			}
			fmt.Fprintf(&b, "| `%s` | %s |\n", call, operation["summary"])
		}
	}
	return b.String()
}

func TestTheClosedSetIsWhole(t *testing.T) {
	source, err := os.ReadFile("../../error.go")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(source)) {
		_, rest, found := strings.Cut(line, "Code = \"")
		if !found {
			continue
		}
		code, _, _ := strings.Cut(rest, `"`)
		if !slices.ContainsFunc(problem.Codes(), func(known modelmanager.Code) bool { return string(known) == code }) {
			t.Errorf("package problem doesn't know %s", code)
		}
	}
}
