package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"modelmanager.dev/internal/api"
)

var update = flag.Bool("update", false, "rewrite docs/openapi.json and the tables of docs/api.md")

// document is the OpenAPI document of the API, decoded and as it is.
func document(t *testing.T) (map[string]any, []byte) {
	t.Helper()
	answer := httptest.NewRecorder()
	api.New(api.Config{Version: "1", Gateway: nil, Auth: everybody()}).ServeHTTP(answer, httptest.NewRequest("GET", "http://localhost/openapi.json", nil))
	var decoded map[string]any
	if err := json.Unmarshal(answer.Body.Bytes(), &decoded); err != nil || answer.Code != 200 {
		t.Fatalf("%d %v", answer.Code, err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, answer.Body.Bytes(), "", "  "); err != nil {
		t.Fatal(err)
	}
	return decoded, append(bytes.TrimSpace(indented.Bytes()), '\n')
}

// golden compares with a committed file, or rewrites it.
func golden(t *testing.T, path string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what the code says (%v); go test ./internal/api -update rewrites it", path, err)
	}
}

func TestTheCommittedOpenAPIDocument(t *testing.T) {
	_, text := document(t)
	golden(t, "../../docs/openapi.json", text)
}

// contract lists the calls of docs/api.md.
var contract = []string{
	"GET /v1/activity", "GET /v1/models/{model}/activity",
	"GET /v1/jobs/{job}/sample",
	"GET /v1/models", "GET /v1/models/{model}", "DELETE /v1/models/{model}",
	"GET /v1/models/{model}/versions", "GET /v1/models/{model}/versions/{version}", "POST /v1/models/{model}/versions",
	"POST /v1/models/{model}/versions/{version}/rollout", "GET /v1/models/{model}/versions/{version}/logs", "GET /v1/models/{model}/versions/{version}/card", "GET /v1/models/{model}/diff",
	"GET /v1/models/{model}/traffic", "PUT /v1/models/{model}/traffic", "GET /v1/models/{model}/traffic/history", "POST /v1/models/{model}/rollback",
	"POST /v1/models/{model}/predict", "POST /v1/models/{model}/versions/{version}/predict",
	"POST /v1/models/{model}/jobs", "POST /v1/models/{model}/jobs/check", "POST /v1/uploads", "GET /v1/jobs", "GET /v1/jobs/{job}", "DELETE /v1/jobs/{job}",
	"GET /v1/jobs/{job}/output", "GET /v1/jobs/{job}/rejected", "GET /v1/jobs/{job}/logs", "GET /v1/jobs/{job}/events", "POST /v1/jobs/{job}/retry",
	"GET /v1/limits", "GET /v1/version", "GET /healthz", "GET /readyz", "GET /metrics",
}

func TestTheOpenAPIDocumentIsWhole(t *testing.T) {
	doc, _ := document(t)
	if version, _ := doc["openapi"].(string); !strings.HasPrefix(version, "3.1.") {
		t.Errorf("openapi: %q", version)
	}
	ids, calls := map[string]string{}, []string{}
	for path, item := range doc["paths"].(map[string]any) {
		for method, value := range item.(map[string]any) {
			call := strings.ToUpper(method) + " " + path
			calls = append(calls, call)
			operation := value.(map[string]any)
			id, _ := operation["operationId"].(string)
			if id == "" || ids[id] != "" {
				t.Errorf("%s: operationId %q is also that of %q", call, id, ids[id])
			}
			ids[id] = call
			if operation["summary"] == nil || operation["tags"] == nil {
				t.Errorf("%s has no summary or no tag", call)
			}
			checkParameters(t, call, path, operation)
			checkResponses(t, call, operation)
		}
	}
	slices.Sort(calls)
	want := slices.Sorted(slices.Values(contract))
	if !slices.Equal(calls, want) {
		t.Errorf("the document has\n%s\nwant\n%s", strings.Join(calls, "\n"), strings.Join(want, "\n"))
	}
	references(doc, func(ref string) {
		if resolve(doc, ref) == nil {
			t.Errorf("%s leads nowhere", ref)
		}
	})
}

var placeholder = regexp.MustCompile(`\{([a-z]+)\}`)

func checkParameters(t *testing.T, call, path string, operation map[string]any) {
	t.Helper()
	declared := map[string]bool{}
	parameters, _ := operation["parameters"].([]any)
	for _, value := range parameters {
		parameter := value.(map[string]any)
		key := fmt.Sprint(parameter["in"], " ", parameter["name"])
		if declared[key] {
			t.Errorf("%s declares %s twice", call, key)
		}
		declared[key] = true
		if parameter["schema"] == nil {
			t.Errorf("%s: %s has no schema", call, key)
		}
		if parameter["in"] == "path" && (parameter["required"] != true || !strings.Contains(path, fmt.Sprintf("{%s}", parameter["name"]))) {
			t.Errorf("%s: %s isn't in the path, or isn't required", call, key)
		}
	}
	for _, match := range placeholder.FindAllStringSubmatch(path, -1) {
		if !declared["path "+match[1]] {
			t.Errorf("%s doesn't declare %s", call, match[1])
		}
	}
}

func checkResponses(t *testing.T, call string, operation map[string]any) {
	t.Helper()
	responses, _ := operation["responses"].(map[string]any)
	success := false
	for status, value := range responses {
		response := value.(map[string]any)
		success = success || strings.HasPrefix(status, "2")
		if response["description"] == nil || response["description"] == "" {
			t.Errorf("%s: %s has no description", call, status)
		}
	}
	failure, _ := responses["default"].(map[string]any)
	content, _ := failure["content"].(map[string]any)
	if !success || content["application/problem+json"] == nil {
		t.Errorf("%s lacks an answer for success, or for a problem: %v", call, responses)
	}
}

// references calls found with every $ref.
func references(value any, found func(string)) {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			if ref, ok := inner.(string); ok && key == "$ref" {
				found(ref)
			}
			references(inner, found)
		}
	case []any:
		for _, inner := range value {
			references(inner, found)
		}
	}
}

func resolve(doc map[string]any, ref string) any {
	var value any = doc
	for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		object, _ := value.(map[string]any)
		value = object[part]
	}
	return value
}

// TestAnswersAreAsTheDocumentSays validates what the server really answers.
func TestAnswersAreAsTheDocumentSays(t *testing.T) {
	doc, text := document(t)
	compiler := jsonschema.NewCompiler()
	decoded, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := compiler.AddResource("http://localhost/openapi.json", decoded); err != nil {
		t.Fatal(err)
	}
	schemas := resolve(doc, "#/components/schemas").(map[string]any)
	for name := range schemas { // each is a JSON Schema
		if _, err := compiler.Compile("http://localhost/openapi.json#/components/schemas/" + name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	w := newWorld(t)
	w.publish("scorer", with("training", map[string]any{"metrics": map[string]any{"auc": 0.9}}))
	w.publish("scorer", with("params", map[string]any{"factor": 3}))
	uri := w.file("in.csv", table(20))
	body := `{"input": {"uri": "` + uri + `"}, "max_rejected": "10%"}`
	_, job := w.call("POST", "/v1/models/scorer/jobs", body)
	id := regexp.MustCompile(`"id":"([a-z0-9]+)"`).FindStringSubmatch(job)[1]
	if _, err := w.client.WatchJob(t.Context(), id, nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, method, url, body string }{
		{"/v1/models", "get", "/v1/models?limit=1", ""},
		{"/v1/models/{model}", "get", "/v1/models/scorer", ""},
		{"/v1/models/{model}", "get", "/v1/models/nobody", ""},
		{"/v1/models/{model}/versions", "get", "/v1/models/scorer/versions", ""},
		{"/v1/models/{model}/versions/{version}", "get", "/v1/models/scorer/versions/1", ""},
		{"/v1/models/{model}/diff", "get", "/v1/models/scorer/diff?from=1&to=2", ""},
		{"/v1/models/{model}/traffic", "get", "/v1/models/scorer/traffic", ""},
		{"/v1/models/{model}/traffic", "put", "/v1/models/scorer/traffic", `{"versions": [{"version": 1, "percent": 100}]}`},
		{"/v1/models/{model}/traffic/history", "get", "/v1/models/scorer/traffic/history", ""},
		{"/v1/models/{model}/rollback", "post", "/v1/models/scorer/rollback", `{"reason": "r"}`},
		{"/v1/models/{model}/predict", "post", "/v1/models/scorer/predict", `{"rows": [{"x": 1}, {"x": 13}], "ids": ["a", 2], "on_error": "partial"}`},
		{"/v1/models/{model}/predict", "post", "/v1/models/scorer/predict", `{"rows": [{"x": "a"}]}`},
		{"/v1/models/{model}/versions/{version}/predict", "post", "/v1/models/scorer/versions/1/predict", `{"rows": [{"x": 1}]}`},
		{"/v1/models/{model}/jobs", "post", "/v1/models/scorer/jobs", body},
		{"/v1/models/{model}/jobs", "post", "/v1/models/scorer/jobs?dry_run=true", body},
		{"/v1/models/{model}/versions", "post", "/v1/models/scorer/versions", published(w, 1)},
		{"/v1/models/{model}/versions", "post", "/v1/models/scorer/versions", published(w, 4)},
		{"/v1/jobs/{job}/retry", "post", "/v1/jobs/" + id + "/retry", ""},
		{"/v1/uploads", "post", "/v1/uploads", "data"},
		{"/v1/jobs", "get", "/v1/jobs", ""},
		{"/v1/jobs/{job}", "get", "/v1/jobs/" + id, ""},
		{"/v1/limits", "get", "/v1/limits", ""},
		{"/v1/version", "get", "/v1/version", ""},
		{"/healthz", "get", "/healthz", ""},
		{"/readyz", "get", "/readyz", ""},
	} {
		response, answer := w.call(strings.ToUpper(c.method), c.url, c.body)
		status, contentType := fmt.Sprint(response.StatusCode), response.Header.Get("Content-Type")
		responses := resolve(doc, "#/paths").(map[string]any)[c.path].(map[string]any)[c.method].(map[string]any)["responses"].(map[string]any)
		if responses[status] == nil {
			status = "default"
		}
		location := "http://localhost/openapi.json#/paths/" + strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(c.path) +
			"/" + c.method + "/responses/" + status + "/content/" + strings.ReplaceAll(contentType, "/", "~1") + "/schema"
		schema, err := compiler.Compile(location)
		if err != nil {
			t.Errorf("%s %s answers %s %s, which the document hasn't: %v", c.method, c.url, response.Status, contentType, err)
			continue
		}
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(answer))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%s %s: %v\n%.600s", c.method, c.url, err, answer)
		}
	}
}

func published(w *world, factor int) string {
	data, err := json.Marshal(w.publication("scorer", with("params", map[string]any{"factor": factor})))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}
