package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// targets are the calls with bodies, each with a good one to start from.
func targets(w *world) map[string]string {
	uri := w.file("in.csv", table(3))
	return map[string]string{
		"PUT /v1/models/scorer/traffic":                  `{"versions": [{"version": 1, "percent": 100}], "shadow": 0, "reason": "r", "by": "b", "at": "x", "back": 1}`,
		"POST /v1/models/scorer/rollback":                `{"reason": "r"}`,
		"POST /v1/models/scorer/versions":                published(w, 2),
		"POST /v1/models/scorer/predict":                 `{"rows": [{"x": 1}], "ids": ["a"], "on_error": "partial"}`,
		"POST /v1/models/scorer/versions/1/predict":      `{"rows": [{"x": 1}]}`,
		"POST /v1/models/scorer/jobs?dry_run=true":       `{"input": {"uri": "` + uri + `", "columns": {"x": "x"}, "null": ["NA"]}, "output": {"add": []}, "labels": {"a": "b"}, "max_rejected": 1}`,
		"POST /v1/models/scorer/jobs/check":              `{"input": {"uri": "` + uri + `", "columns": {"x": "x"}}, "version": 1}`,
		"POST /v1/jobs/abcdefghijklmnopqrstuvwxyz/retry": ``,
	}
}

// values are what callers put where something else belongs.
var values = []any{
	nil, true, 0, -1, 1.5, 1e300, json.Number("99999999999999999999999"), json.Number("1e999"), "", "a", "\x00", "\xff", "../../etc/passwd", "1", "100%",
	strings.Repeat("x", 10_000), []any{}, []any{nil}, map[string]any{}, map[string]any{"": nil}, []any{[]any{[]any{map[string]any{"a": []any{}}}}},
	"file:///etc/passwd", "http://169.254.169.254/", "s3://bucket/key", "mem://", "file://", "%zz", "NaN", "9223372036854775808",
}

// mutate changes something in a JSON value.
func mutate(t *rapid.T, value any) any {
	if rapid.IntRange(0, 5).Draw(t, "here") == 0 {
		return rapid.SampledFrom(values).Draw(t, "value")
	}
	switch value := value.(type) {
	case map[string]any:
		keys := []string{"", "unknown", "Version"}
		for key := range value {
			keys = append(keys, key)
		}
		key := rapid.SampledFrom(sorted(keys)).Draw(t, "key")
		if rapid.IntRange(0, 6).Draw(t, "drop") == 0 {
			delete(value, key)
			return value
		}
		value[key] = mutate(t, value[key])
		return value
	case []any:
		if len(value) == 0 || rapid.IntRange(0, 4).Draw(t, "more") == 0 {
			return append(value, rapid.SampledFrom(values).Draw(t, "item"))
		}
		i := rapid.IntRange(0, len(value)-1).Draw(t, "index")
		value[i] = mutate(t, value[i])
		return value
	}
	return rapid.SampledFrom(values).Draw(t, "value")
}

func TestNoBodyBreaksTheServer(t *testing.T) {
	w := newWorld(t)
	w.publish("scorer", nil)
	calls := targets(w)
	rapid.Check(t, func(t *rapid.T) {
		call := rapid.SampledFrom(sorted(keysOf(calls))).Draw(t, "call")
		body := []byte(calls[call])
		var value any
		if json.Unmarshal(body, &value) == nil {
			for range rapid.IntRange(1, 3).Draw(t, "mutations") {
				value = mutate(t, value)
			}
			if data, err := json.Marshal(value); err == nil {
				body = data
			}
		}
		switch rapid.IntRange(0, 9).Draw(t, "bytes") {
		case 0:
			body = body[:rapid.IntRange(0, len(body)).Draw(t, "cut")]
		case 1:
			body = append(body, rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "tail")...)
		case 2:
			body = rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "noise")
		}
		method, path, _ := strings.Cut(call, " ")
		unbroken(t, w, method, path, string(body))
	})
	if log := w.log.String(); strings.Contains(log, "panic") {
		t.Errorf("the log says %.3000s", log)
	}
}

func TestNoQueryBreaksTheServer(t *testing.T) {
	w := newWorld(t)
	w.publish("scorer", nil)
	paths := []string{
		"/v1/models", "/v1/models/scorer", "/v1/models/scorer/versions", "/v1/models/scorer/versions/1", "/v1/models/scorer/versions/1/logs",
		"/v1/models/scorer/diff", "/v1/models/scorer/traffic", "/v1/models/scorer/traffic/history", "/v1/jobs", "/v1/jobs/x", "/v1/jobs/x/output",
		"/v1/limits", "/healthz", "/openapi.json",
	}
	names := []string{"q", "owner", "label", "serve", "retired", "limit", "page_token", "model", "state", "from", "to", "lines", "unknown"}
	texts := []string{"", "a", "1", "-1", "0", "true", "a%3Db", "%00", "%ff", "%zz", "99999999999999999999", "1e3", "..%2F..", strings.Repeat("x", 3000), "scorer", "batch"}
	rapid.Check(t, func(t *rapid.T) {
		path := rapid.SampledFrom(paths).Draw(t, "path")
		var query []string
		for range rapid.IntRange(0, 3).Draw(t, "parameters") {
			query = append(query, rapid.SampledFrom(names).Draw(t, "name")+"="+rapid.SampledFrom(texts).Draw(t, "text"))
		}
		unbroken(t, w, "GET", path+"?"+strings.Join(query, "&"), "")
	})
}

// unbroken checks that a call has an answer, and that no failure is ours.
func unbroken(t *rapid.T, w *world, method, path, body string) {
	request := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Prefer", "wait=5")
	answer := httptest.NewRecorder()
	w.api.ServeHTTP(answer, request)
	if answer.Code < 400 {
		return
	}
	var problem struct{ Code, Detail string }
	err := json.Unmarshal(answer.Body.Bytes(), &problem)
	if err != nil || problem.Code == "" || problem.Code == "internal" || answer.Code >= 500 && answer.Code != http.StatusBadGateway {
		t.Fatalf("%s %s %.2000s: %d %.1000s", method, path, body, answer.Code, answer.Body)
	}
	if len(problem.Detail) > 50_000 {
		t.Fatal(fmt.Sprintf("%s %s: a detail of %d bytes", method, path, len(problem.Detail)))
	}
}
