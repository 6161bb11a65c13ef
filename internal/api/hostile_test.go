package api_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/api"
	"modelmanager.dev/internal/problem"
)

func TestOnlyOurOwnNameAndPages(t *testing.T) {
	w := newWorld(t)
	w.publish("scorer", nil)
	const body = `{"rows": [{"x": 1}]}`
	for _, header := range [][]string{
		{"Host", "evil.example.org"}, {"Host", "evil.example.org:80"}, {"Host", "127.0.0.1.evil.example.org"}, {"Host", "192.0.2.1"},
		{"Origin", "https://evil.example.org"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
	} {
		for _, call := range [][2]string{
			{"POST", "/v1/models/scorer/predict"}, {"POST", "/v1/uploads"}, {"PUT", "/v1/models/scorer/traffic"}, {"DELETE", "/v1/models/scorer"},
		} {
			w.refused(403, modelmanager.CodeForbidden, call[0], call[1], body, header...)
		}
	}
	w.refused(403, modelmanager.CodeForbidden, "GET", "/v1/models", "", "Host", "evil.example.org")
	w.refused(403, modelmanager.CodeForbidden, "GET", "/metrics", "", "Host", "evil.example.org")
	w.refused(403, modelmanager.CodeForbidden, "GET", "/v1/models/scorer/diff?from=1&to=1", "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors")
	for _, header := range [][]string{
		{"Host", "localhost:1"}, {"Host", "LOCALHOST."}, {"Host", "[::1]:80"}, {"Host", "127.0.0.2"},
		{"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"}, {"Origin", w.server.URL},
	} {
		response, text := w.call("POST", "/v1/models/scorer/predict", body, header...)
		if response.StatusCode != 200 {
			t.Errorf("%v: %s %s", header, response.Status, text)
		}
		for name := range response.Header {
			if strings.HasPrefix(name, "Access-Control") {
				t.Errorf("%v: the answer has %s", header, name)
			}
		}
		if response.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%v: browsers may sniff the answer", header)
		}
	}
	if response, _ := w.call("GET", "/healthz", "", "Host", "10.0.0.1:8080"); response.StatusCode != 200 {
		t.Errorf("a health check by address: %s", response.Status)
	}
	if response, _ := w.call("OPTIONS", "/v1/models", "", "Origin", "https://evil.example.org", "Access-Control-Request-Method", "GET"); response.StatusCode < 400 || response.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("a preflight: %s %v", response.Status, response.Header)
	}
	for send, want := range map[string]string{
		"GET /v1/models HTTP/1.0\r\n\r\n":                                           "HTTP/1.0 200",
		"GET /v1/models HTTP/1.1\r\n\r\n":                                           "HTTP/1.1 400",
		"GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n":             "HTTP/1.1 400",
		"GET http://evil.example.org/v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n": "HTTP/1.1 403",
	} {
		if got := w.raw(send); !strings.HasPrefix(got, want) {
			t.Errorf("%q: %.100q, want %s", send, got, want)
		}
	}
}

func TestOtherNamesIfToldSo(t *testing.T) {
	a := api.New(api.Config{Hosts: []string{"models.example.org"}, Auth: everybody()})
	for host, want := range map[string]int{"models.example.org": 200, "Models.Example.Org.:443": 200, "other.example.org": 403} {
		request := httptest.NewRequest("GET", "/v1/version", nil)
		request.Host = host
		answer := httptest.NewRecorder()
		a.ServeHTTP(answer, request)
		if answer.Code != want {
			t.Errorf("%s: %d, want %d", host, answer.Code, want)
		}
	}
}

func TestTheAddressThatAServerIsReachedAt(t *testing.T) {
	a := api.New(api.Config{Auth: everybody()})
	for local, want := range map[string]int{"10.1.2.3": 200, "10.1.2.4": 403} {
		request := httptest.NewRequest("GET", "/v1/version", nil)
		request.Host = "10.1.2.3:8080"
		address := &net.TCPAddr{IP: net.ParseIP(local), Port: 8080}
		answer := httptest.NewRecorder()
		a.ServeHTTP(answer, request.WithContext(context.WithValue(request.Context(), http.LocalAddrContextKey, address)))
		if answer.Code != want {
			t.Errorf("reached at %s: %d, want %d", local, answer.Code, want)
		}
	}
}

func TestCarelessCallers(t *testing.T) {
	w := newWorld(t)
	w.publish("scorer", nil)
	const traffic = "/v1/models/scorer/traffic"
	for _, c := range []struct {
		status             int
		code               modelmanager.Code
		method, path, body string
		says               string
	}{
		{404, "not_found", "GET", "/v1/modles", "", "/openapi.json"},
		{404, "not_found", "GET", "/v1/models/scorre", "", "scorer"},
		{404, "not_found", "GET", "/v1/models/sco%2F..%2Frer", "", ""},
		{404, "not_found", "GET", "/v1/models/%2e%2e%2f%2e%2e%2fetc", "", ""},
		{404, "not_found", "GET", "/v1/models/a%00b", "", ""},
		{404, "not_found", "GET", "/v1/models/%ff%fe", "", ""},
		{404, "not_found", "GET", "/v1/models/" + strings.Repeat("a", 41) + "/traffic", "", ""},
		{404, "not_found", "GET", "/v1/models/scorer/versions/99", "", "latest is 1"},
		{404, "not_found", "POST", "/v1/models/scorer/versions/99/predict", `{"rows": []}`, ""},
		{400, "bad_request", "GET", "/v1/models/scorer/versions/latest", "", "version"},
		{400, "bad_request", "GET", "/v1/models/scorer/versions/0", "", "version"},
		{400, "bad_request", "GET", "/v1/models/scorer/versions/99999999999999999999", "", "version"},
		{400, "bad_request", "POST", "/v1/models/scorer/versions/-1/predict", `{"rows": []}`, "version"},
		{400, "bad_request", "POST", "/v1/models/scorer/versions/1e3/predict", `{"rows": []}`, "version"},
		{400, "bad_request", "GET", "/v1/models?lable=a%3Db", "", "label"},
		{400, "bad_request", "GET", "/v1/models?label=a", "", "name=value"},
		{400, "bad_request", "GET", "/v1/models?label=a%3D1&label=a%3D2", "", ""},
		{400, "bad_request", "GET", "/v1/models?limit=1&limit=2", "", "limit"},
		{400, "bad_request", "GET", "/v1/models?limit=0", "", "limit"},
		{400, "bad_request", "GET", "/v1/models?limit=1001", "", "limit"},
		{400, "bad_request", "GET", "/v1/models?limit=many", "", "limit"},
		{400, "bad_request", "GET", "/v1/models?q=%zz", "", ""},
		{400, "bad_request", "GET", "/v1/models?serve=sometimes", "", "realtime"},
		{400, "bad_request", "GET", "/v1/models?page_token=%00", "", ""},
		{400, "bad_request", "GET", "/v1/models/scorer/versions?page_token=x", "", ""},
		{400, "bad_request", "GET", "/v1/jobs?page_token=..", "", ""},
		{400, "bad_request", "GET", "/v1/jobs?state=lost", "", "succeeded"},
		{400, "bad_request", "GET", "/v1/models/scorer/versions/1/logs?lines=-1", "", "lines"},
		{400, "bad_request", "GET", "/v1/models/scorer/versions/1/logs?line=1", "", "lines"},
		{400, "bad_request", "POST", "/v1/models/scorer/predict?version=1", `{"rows": []}`, "version"},
		{400, "bad_request", "PUT", traffic, `{"version": [{"version": 1, "percent": 100}]}`, "did you mean versions?"},
		{400, "bad_request", "PUT", traffic, `{"versions": [{"version": 1, "percnet": 100}]}`, "did you mean percent?"},
		{400, "bad_request", "PUT", traffic, `{"versions": [{"version": 1}]}`, "percent"},
		{400, "bad_request", "PUT", traffic, `{"versions": [{"version": 1, "percent": 99}]}`, ""},
		{400, "bad_request", "PUT", traffic, `{"versions": [{"version": 1, "percent": 1e300}]}`, ""},
		{400, "bad_request", "PUT", traffic, `{"versions": [{"version": 1, "percent": "100"}]}`, "percent"},
		{400, "bad_request", "PUT", traffic, `{"versions": [{"version": 1, "percent": 50}, {"version": 1, "percent": 50}]}`, ""},
		{404, "not_found", "PUT", traffic, `{"versions": [{"version": 7, "percent": 100}]}`, "7"},
		{404, "not_found", "PUT", traffic, `{"versions": [{"version": 1, "percent": 100}], "shadow": 7}`, "7"},
		{400, "bad_request", "PUT", traffic, `{"versions": []}`, "versions"},
		{400, "bad_request", "PUT", traffic, `[]`, ""},
		{400, "bad_request", "PUT", traffic, `null`, ""},
		{400, "bad_request", "PUT", traffic, `{"versions": `, ""},
		{400, "bad_request", "PUT", traffic, ``, "body"},
		{400, "bad_request", "PUT", traffic, strings.Repeat(`{"versions":[`, 20_000), ""},
		{400, "bad_request", "POST", "/v1/models/scorer/versions", `{"spce": {}}`, "did you mean spec?"},
		{400, "bad_request", "POST", "/v1/models/scorer/jobs", `{"input": {"uri": "x", "delimeter": ";"}}`, "did you mean delimiter?"},
		{400, "bad_request", "POST", "/v1/models/scorer/predict", `{"row": [{"x": 1}]}`, "did you mean rows?"},
		{400, "bad_request", "POST", "/v1/models/scorer/predict", strings.Repeat(`{"rows":[`, 20_000), ""},
		{413, "too_large", "PUT", traffic, `{"versions": [{"version": 1, "percent": 100}], "reason": "` + strings.Repeat("x", 2<<20) + `"}`, "1048576"},
		{413, "too_large", "POST", "/v1/models/scorer/versions", strings.Repeat(" ", 2<<20), ""},
		{405, "bad_request", "POST", "/v1/models", `{}`, "GET"},
		{405, "bad_request", "PATCH", traffic, `{}`, "GET, PUT"},
		{405, "bad_request", "GET", "/v1/models/scorer/predict", "", "POST"},
		{405, "bad_request", "DELETE", "/healthz", "", "GET"},
	} {
		if detail := w.refused(c.status, c.code, c.method, c.path, c.body); !strings.Contains(detail, c.says) {
			t.Errorf("%s %s %.80s says %q, and nothing of %q", c.method, c.path, c.body, detail, c.says)
		} else if strings.Contains(detail, "did you mean") && !strings.Contains(c.says, "did you mean") && c.status == 400 && c.method != "GET" {
			t.Errorf("%s %s %.80s suggests nonsense: %s", c.method, c.path, c.body, detail)
		} else if len(detail) > 2000 {
			t.Errorf("%s %s: a detail of %d bytes", c.method, c.path, len(detail))
		}
	}
	for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense", "application/xml"} {
		w.refused(415, modelmanager.CodeUnsupportedMedia, "PUT", traffic, `{}`, "Content-Type", contentType)
	}
	for _, accept := range []string{"text/html", "application/cbor", "*/*;q=0", "nonsense"} {
		if response, body := w.call("GET", "/v1/models", "", "Accept", accept); response.StatusCode != 200 || !strings.HasPrefix(body, "{") {
			t.Errorf("Accept %s: %s %.100s", accept, response.Status, body)
		}
	}
	if response, _ := w.call("PATCH", traffic, `{}`); response.Header.Get("Allow") != "GET, PUT" {
		t.Errorf("Allow: %q", response.Header.Get("Allow"))
	}
	if response, body := w.call("HEAD", "/v1/models/scorer", ""); response.StatusCode != 200 || body != "" {
		t.Errorf("HEAD: %s", response.Status)
	}
}

func TestOnlyCompleteUploads(t *testing.T) {
	w := newWorld(t)
	for _, send := range []string{
		"POST /v1/uploads HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf of it",
		"POST /v1/uploads HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"POST /v1/uploads HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n",
		"POST /v1/uploads HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
	} {
		if got := w.raw(send); strings.Contains(got, " 201 ") || strings.Contains(got, `"internal"`) || strings.Contains(got, " 5") {
			t.Errorf("%q: %q", send, got)
		}
	}
	objects, err := w.bucket.List(t.Context(), "uploads/", "", 0)
	if err != nil || len(objects) != 0 {
		t.Errorf("%d objects are left, %v", len(objects), err)
	}
	// Bodies of calls that huma reads break off, too.
	for _, send := range []string{
		"PUT /v1/models/a/traffic HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
		"PUT /v1/models/a/traffic HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
	} {
		if got := w.raw(send); got != "" && !strings.HasPrefix(got, "HTTP/1.1 400") {
			t.Errorf("%q: %q", send, got)
		}
	}
	if upload, err := w.client.Upload(t.Context(), "empty", strings.NewReader("")); err != nil || upload.Size != 0 {
		t.Errorf("an empty file: %+v %v", upload, err)
	}
}

// panicking is a registry of metrics that panics before or after the first byte.
type panicking struct{ late bool }

func (p panicking) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if p.late {
		fmt.Fprint(w, "half of ")
		http.NewResponseController(w).Flush()
	}
	panic("a bug")
}

func TestThePanicOfACallIsItsOwn(t *testing.T) {
	w := newWorld(t)
	for _, late := range []bool{false, true} {
		w.api.Metrics = panicking{late}
		response, err := w.server.Client().Get(w.server.URL + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		data := new(strings.Builder)
		_, err = fmt.Fprint(data, response.Status)
		response.Body.Close()
		if !late && response.StatusCode != 500 || late && response.StatusCode != 200 || err != nil {
			t.Errorf("late %t: %s", late, response.Status)
		}
	}
	w.api.Metrics = panicking{}
	w.refused(500, modelmanager.CodeInternal, "GET", "/metrics", "")
	if !strings.Contains(w.log.String(), "a bug") || !strings.Contains(w.log.String(), "hostile_test.go") {
		t.Errorf("the log says %s", w.log)
	}
	if response, _ := w.call("GET", "/healthz", ""); response.StatusCode != 200 {
		t.Errorf("the server is %s", response.Status)
	}
	// Whoever cuts a connection means it.
	func() {
		defer func() {
			if recover() != http.ErrAbortHandler {
				t.Error("http.ErrAbortHandler was swallowed")
			}
		}()
		w.api.Metrics = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		request := httptest.NewRequest("GET", "http://localhost/metrics", nil)
		w.api.ServeHTTP(httptest.NewRecorder(), request)
	}()
}

func TestNotReadySaysWhenToComeBack(t *testing.T) {
	a := api.New(api.Config{Auth: everybody(), Ready: func() error {
		return &modelmanager.Error{Code: modelmanager.CodeUnavailable, Detail: "loading", RetryAfter: 2e9}
	}})
	answer := httptest.NewRecorder()
	a.ServeHTTP(answer, httptest.NewRequest("GET", "http://localhost/readyz", nil))
	if answer.Code != 503 || answer.Header().Get("Retry-After") != "2" || answer.Header().Get("Content-Type") != problem.ContentType {
		t.Errorf("%d %v %s", answer.Code, answer.Header(), answer.Body)
	}
}

func TestEveryQueryIsEscapedByTheClient(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"", ".", "..", "a/b", "a?b", "a#b", "%2e%2e", "a b", "ü", "a\x00b", strings.Repeat("x", 1000)} {
		_, err := w.client.Model(t.Context(), name)
		if code := modelmanager.CodeOf(err); code != modelmanager.CodeNotFound && code != modelmanager.CodeBadRequest {
			t.Errorf("%q: %v (%s)", url.QueryEscape(name), err, code)
		}
	}
}
