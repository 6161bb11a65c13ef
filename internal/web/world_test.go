package web

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/problem"
	"modelmanager.dev/internal/spec"
)

// fakeAPI answers the API's calls as a test wants it, and remembers them.
type fakeAPI struct {
	*http.ServeMux

	mu    sync.Mutex
	calls []string
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.calls = append(f.calls, r.Method+" "+r.URL.Path)
	f.mu.Unlock()
	f.ServeMux.ServeHTTP(w, r)
}

func (f *fakeAPI) json(pattern string, value any) {
	f.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(value) })
}

func (f *fakeAPI) fails(pattern string, code modelmanager.Code, detail string) {
	f.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
		problem.Write(w, modelmanager.Errorf(code, "%s", detail))
	})
}

var key = []byte(strings.Repeat("k", 32))

func newWeb(t *testing.T, api http.Handler) *Web {
	t.Helper()
	w, err := New(Config{API: api, Key: key, Version: "test", Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// browser keeps cookies, as a browser does, and follows nothing.
type browser struct {
	t       *testing.T
	web     http.Handler
	cookies map[string]string
	header  http.Header
}

func newBrowser(t *testing.T, web http.Handler) *browser {
	return &browser{t: t, web: web, cookies: map[string]string{}, header: http.Header{"Accept": {"text/html"}}}
}

func (b *browser) do(method, path string, form url.Values) *httptest.ResponseRecorder {
	b.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r := httptest.NewRequestWithContext(b.t.Context(), method, path, body)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, values := range b.header {
		r.Header[name] = values
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	recorder := httptest.NewRecorder()
	b.web.ServeHTTP(recorder, r)
	for _, cookie := range recorder.Result().Cookies() {
		if cookie.MaxAge < 0 {
			delete(b.cookies, cookie.Name)
		} else {
			b.cookies[cookie.Name] = cookie.Value
		}
	}
	return recorder
}

func (b *browser) get(path string) *httptest.ResponseRecorder {
	b.t.Helper()
	return b.do(http.MethodGet, path, nil)
}

var tokenInForm = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// post sends a form with the token of a page.
func (b *browser) post(page, path string, form url.Values) *httptest.ResponseRecorder {
	b.t.Helper()
	match := tokenInForm.FindStringSubmatch(b.get(page).Body.String())
	if match == nil {
		b.t.Fatalf("%s has no form with a token", page)
	}
	form.Set("csrf", match[1])
	return b.do(http.MethodPost, path, form)
}

// hostile is what a stranger would write everywhere.
const hostile = `"><script>alert(1)</script><img src=//evil.example/x onerror=alert(1)> ' onload='x {{.}} javascript:alert(1)`

const hostileCard = "# Title\n\nText <script>alert(1)</script> <img src=\"//evil.example/p.png\" onerror=alert(1)> ![pixel](http://evil.example/p.png)\n\n" +
	"[bad](javascript:alert(1)) [also](data:text/html;base64,AAAA) [good](https://example.org/a) <a href=\"https://example.org\" target=_blank style=\"x\" onclick=\"y\" hx-get=\"/x\">raw</a>\n\n" +
	"<form action=/theme><input name=a></form><style>body{display:none}</style><iframe src=//evil.example></iframe><svg onload=alert(1)></svg>\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"

func ptr[T any](v T) *T { return &v }

// hostileSpec has every kind of feature, and hostile texts in all of them.
func hostileSpec() *spec.Spec {
	s := &spec.Spec{
		Name: "scorer", Summary: hostile, Owner: hostile, Labels: map[string]string{hostile: hostile}, Card: "README.md",
		Serve: []modelmanager.Mode{modelmanager.RealTime, modelmanager.Batch},
		Features: []modelmanager.Field{
			{Name: "x", Type: modelmanager.Number, Unit: hostile, Description: hostile, Minimum: ptr(0.), Maximum: ptr(9.5)},
			{Name: "n", Type: modelmanager.Integer, Default: &modelmanager.Default{Value: int64(3)}},
			{Name: "big", Type: modelmanager.Integer, Format: modelmanager.FormatInt64, Nullable: true},
			{Name: "kind", Type: modelmanager.String, Enum: []any{hostile, "b"}},
			{Name: "open", Type: modelmanager.String, Enum: []any{hostile}, Unknown: "accept"},
			{Name: "name", Type: modelmanager.String, Pattern: hostile},
			{Name: "yes", Type: modelmanager.Boolean},
			{Name: "maybe", Type: modelmanager.Boolean, Nullable: true},
			{Name: "day", Type: modelmanager.String, Format: modelmanager.FormatDate},
			{Name: "moment", Type: modelmanager.String, Format: modelmanager.FormatDateTime},
			{Name: "pair", Type: modelmanager.Array, Items: &modelmanager.Field{Type: modelmanager.Number}, Length: ptr(2), Labels: []string{hostile, "b"}},
			{Name: "words", Type: modelmanager.Array, Items: &modelmanager.Field{Type: modelmanager.String}},
			{Name: "numbers", Type: modelmanager.Array, Items: &modelmanager.Field{Type: modelmanager.Integer}, MaxItems: ptr(3)},
		},
		Predictions: []modelmanager.Field{
			{Name: "p", Type: modelmanager.Number, Minimum: ptr(0.), Maximum: ptr(1.), Description: hostile, Unit: hostile},
			{Name: "class", Type: modelmanager.String},
			{Name: "all", Type: modelmanager.Array, Items: &modelmanager.Field{Type: modelmanager.Number, Minimum: ptr(0.), Maximum: ptr(1.)}, Length: ptr(2), Labels: []string{hostile, "b"}},
		},
		Run:      spec.Run{Command: []string{hostile}},
		Training: map[string]any{hostile: hostile, "metrics": map[string]any{"auc": 0.5}},
	}
	s.Examples = []spec.Example{{Name: hostile, Features: map[string]json.RawMessage{
		"x": json.RawMessage("1.5"), "n": json.RawMessage("4"), "big": json.RawMessage(`"9007199254740993"`), "kind": encoded(hostile),
		"open": encoded("z"), "name": encoded(hostile), "yes": json.RawMessage("true"), "maybe": json.RawMessage("null"),
		"day": encoded("2026-01-02"), "moment": encoded("2026-01-02T03:04:05Z"), "pair": json.RawMessage("[1,2]"),
		"words": encoded([]string{hostile, "b"}), "numbers": json.RawMessage("[1,2,3]"),
	}, Predictions: map[string]json.RawMessage{"class": encoded(hostile)}}}
	return s
}

// hostileAPI has a model of which every text is hostile.
func hostileAPI(t *testing.T) *fakeAPI {
	t.Helper()
	canonical, err := hostileSpec().Canonical()
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	bad := modelmanager.Health{State: modelmanager.Unhealthy, Reason: hostile}
	setting := func(version int) modelmanager.Traffic {
		return modelmanager.Traffic{Versions: []modelmanager.Share{{Version: version, Percent: 100}}, Reason: hostile, By: hostile, At: at.Add(time.Duration(version) * time.Hour)}
	}
	info := modelmanager.ModelInfo{
		Name: "scorer", Summary: hostile, Owner: hostile, Labels: map[string]string{hostile: hostile}, Serve: []modelmanager.Mode{"realtime", "batch"},
		Traffic: modelmanager.TrafficInfo{Traffic: setting(2)}, Health: bad, Latest: 2, Created: at,
		Canary: &modelmanager.Canary{Version: 2, Before: 1, Step: 2, Steps: []int{5, 25}, Since: at, Until: at, Latest: at, BackWhen: []string{hostile, "b"}, Status: hostile},
	}
	listed := info
	info.Spec = json.RawMessage(canonical)
	version := func(number int) modelmanager.VersionInfo {
		return modelmanager.VersionInfo{
			Model: "scorer", Version: number, Digest: hostile, Spec: json.RawMessage(canonical), Created: at, By: hostile, ApprovedBy: hostile, Health: bad,
			Source: modelmanager.Source{Repository: hostile, Commit: hostile, Path: hostile, Author: hostile}, Artifact: modelmanager.Artifact{Digest: hostile, Image: hostile},
		}
	}
	f := &fakeAPI{ServeMux: http.NewServeMux()}
	f.json("GET /v1/models", modelmanager.ModelList{Models: []modelmanager.ModelInfo{listed}, NextPageToken: hostile})
	f.json("GET /v1/models/scorer", info)
	f.json("GET /v1/models/scorer/versions", modelmanager.VersionList{Versions: []modelmanager.VersionInfo{version(2), version(1)}})
	f.json("GET /v1/models/scorer/versions/1", version(1))
	f.json("GET /v1/models/scorer/versions/2", version(2))
	f.HandleFunc("GET /v1/models/scorer/versions/2/card", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, hostileCard) })
	f.HandleFunc("GET /v1/models/scorer/versions/2/logs", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, hostile+"\xff") })
	f.json("GET /v1/models/scorer/traffic/history", modelmanager.TrafficHistory{History: []modelmanager.Traffic{setting(2), setting(1)}})
	f.json("GET /v1/models/scorer/diff", modelmanager.Diff{Model: "scorer", From: 1, To: 2, Examples: []modelmanager.ExampleDiff{
		{Name: hostile, From: json.RawMessage(`{"p": 0.1, "class": "a", "all": [0, 1]}`), To: json.RawMessage("null")},
	}})
	counts := modelmanager.CallCounts{Calls: 5, Errors: 1, P50: 3, P99: 9}
	f.json("GET /v1/models/scorer/activity", modelmanager.ModelActivity{Model: "scorer", From: at, To: at.Add(time.Hour), Incomplete: hostile,
		Versions: []modelmanager.VersionMinutes{{Version: 2, Total: counts, Minutes: []modelmanager.MinuteActivity{{At: at.Add(time.Minute), Replicas: 1, CallCounts: counts}}}}})
	f.json("GET /v1/activity", modelmanager.Activity{Versions: []modelmanager.VersionActivity{{Model: "scorer", Version: 2, CallCounts: counts}}})
	f.json("GET /v1/jobs", modelmanager.JobList{})
	f.json("GET /v1/limits", modelmanager.Limits{})
	f.json("POST /v1/models/scorer/predict", modelmanager.PredictResponse{Model: "scorer", Version: 2, Predictions: []json.RawMessage{
		encoded(map[string]any{"p": 0.25, "class": hostile, "all": []float64{.1, .9}}),
	}})
	f.json("PUT /v1/models/scorer/traffic", setting(1))
	f.json("POST /v1/models/scorer/rollback", setting(1))
	f.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problem.Write(w, modelmanager.Errorf(modelmanager.CodeNotFound, "%s %s", hostile, r.URL.Path))
	})
	return f
}
