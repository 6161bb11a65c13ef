package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modelmanager.dev"
	"modelmanager.dev/internal/problem"
)

// formOf is what a browser would send of a form.
func formOf(inputs []input) url.Values {
	form := url.Values{}
	for _, in := range inputs {
		switch in.Control {
		case "items":
			for name, values := range formOf(in.Items) {
				form[name] = values
			}
		case "select":
			form.Set(in.Key, "")
			for _, option := range in.Options {
				if option.Selected {
					form.Set(in.Key, option.Value)
				}
			}
		case "check":
			if in.Value == "true" {
				form.Set(in.Key, "true")
			}
		default:
			form.Set(in.Key, in.Value)
		}
	}
	return form
}

func TestAnExampleComesBackFromTheFormAsItWas(t *testing.T) {
	s := hostileSpec()
	inputs := newInputs(s.Features)
	for i := range inputs {
		inputs[i].fill(s.Examples[0].Features[inputs[i].Name])
	}
	form := formOf(inputs)
	again := newInputs(s.Features)
	for i := range again {
		var want, got any
		_ = json.Unmarshal(s.Examples[0].Features[again[i].Name], &want)
		data := again[i].read(form)
		_ = json.Unmarshal(data, &got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (%s): %s", again[i].Name, data, diff)
		}
	}
}

func TestWhatIsTyped(t *testing.T) {
	field := func(kind modelmanager.Type, change func(*modelmanager.Field)) modelmanager.Field {
		f := modelmanager.Field{Name: "x", Type: kind}
		if change != nil {
			change(&f)
		}
		return f
	}
	nullable := func(f *modelmanager.Field) { f.Nullable = true }
	for _, c := range []struct {
		field modelmanager.Field
		text  string
		want  string // "": left out
	}{
		{field(modelmanager.Number, nil), "1.50", "1.50"},
		{field(modelmanager.Number, nil), " -2 ", "-2"},
		{field(modelmanager.Number, nil), ".5", "0.5"},
		{field(modelmanager.Number, nil), "1,5", `"1,5"`}, // the API says what is wrong
		{field(modelmanager.Number, nil), "NaN", `"NaN"`},
		{field(modelmanager.Number, nil), "0x10", `"0x10"`},
		{field(modelmanager.Number, nil), `"1"`, `"\"1\""`},
		{field(modelmanager.Number, nil), "[1]", `"[1]"`},
		{field(modelmanager.Number, nil), "", ""},
		{field(modelmanager.Number, nullable), "", "null"},
		{field(modelmanager.Integer, nil), "1.5", "1.5"},
		{field(modelmanager.Integer, func(f *modelmanager.Field) { f.Format = modelmanager.FormatInt64 }), "9007199254740993", `"9007199254740993"`},
		{field(modelmanager.String, nil), "", `""`},
		{field(modelmanager.String, nil), " a<b> ", `" a<b> "`},
		{field(modelmanager.String, nullable), "", "null"},
		{field(modelmanager.String, func(f *modelmanager.Field) { f.Format = modelmanager.FormatDate }), "", ""},
		{field(modelmanager.String, func(f *modelmanager.Field) { f.Format = modelmanager.FormatDateTime }), "2026-01-02T03:04", `"2026-01-02T03:04:00Z"`},
		{field(modelmanager.String, func(f *modelmanager.Field) { f.Format = modelmanager.FormatDateTime }), "yesterday", `"yesterday"`},
		{field(modelmanager.Boolean, nil), "", "false"},
		{field(modelmanager.Boolean, nullable), "", "null"},
		{field(modelmanager.String, func(f *modelmanager.Field) { f.Enum = []any{"a"} }), "not json", `"not json"`},
		{field(modelmanager.String, func(f *modelmanager.Field) { f.Enum = []any{"a"} }), "", ""},
		{field(modelmanager.Array, func(f *modelmanager.Field) { f.Items = &modelmanager.Field{Type: modelmanager.Number} }), "1, 2;x", `[1,2,"x"]`},
		{field(modelmanager.Array, func(f *modelmanager.Field) { f.Items = &modelmanager.Field{Type: modelmanager.Number} }), "", `[]`},
		{field(modelmanager.Array, func(f *modelmanager.Field) { f.Items = &modelmanager.Field{Type: modelmanager.String} }), "a, b\r\nc", `["a, b","c"]`},
	} {
		in := newInput(c.field, "f.x")
		if got := in.read(url.Values{"f.x": {c.text}}); string(got) != c.want {
			t.Errorf("%s %s %q: %s, want %s", c.field.Type, c.field.Format, c.text, got, c.want)
		}
	}
}

func TestAskingAModel(t *testing.T) {
	b := newBrowser(t, newWeb(t, hostileAPI(t)))
	answer := b.post("/models/scorer/try?example=1", "/models/scorer/try", url.Values{"f.x": {"1"}})
	if answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), "version 2") || !strings.Contains(answer.Body.String(), "that is 25 %") {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	check(t, "the answer", answer.Body.String())
}

func TestWhatIsWrongStandsBesideItsField(t *testing.T) {
	for _, c := range []struct {
		rows []modelmanager.RowError
		want []string
		not  string
	}{
		{[]modelmanager.RowError{{Feature: "x", Message: "-1 is below the minimum, 0"}, {Feature: "pair[1]", Message: "is missing"}},
			[]string{`id="f-x-wrong"`, "-1 is below the minimum, 0.", `id="f-pair-wrong"`, "beside 2 fields"}, "row 0"},
		{[]modelmanager.RowError{{Feature: "strange", Message: "is no feature"}}, []string{"is no feature"}, `id="f-x-wrong"`},
	} {
		api := &fakeAPI{ServeMux: http.NewServeMux()}
		inner := hostileAPI(t)
		api.HandleFunc("POST /v1/models/scorer/predict", func(w http.ResponseWriter, _ *http.Request) {
			problem.Write(w, &modelmanager.Error{Code: modelmanager.CodeInvalidRows, Detail: "row 0 is wrong", Rows: c.rows})
		})
		api.Handle("/", inner)
		b := newBrowser(t, newWeb(t, api))
		answer := b.post("/models/scorer/try", "/models/scorer/try", url.Values{"f.x": {"-1"}})
		for _, want := range c.want {
			if answer.Code != http.StatusUnprocessableEntity || !strings.Contains(answer.Body.String(), want) {
				t.Errorf("%d, without %q", answer.Code, want)
			}
		}
		if strings.Contains(answer.Body.String(), c.not) || !strings.Contains(answer.Body.String(), `value="-1"`) {
			t.Errorf("%s", answer.Body)
		}
		check(t, "the refusal", answer.Body.String())
	}
}

// TestAFailureIsNamedOnce: its title says already that the model failed.
func TestAFailureIsNamedOnce(t *testing.T) {
	api := &fakeAPI{ServeMux: http.NewServeMux()}
	api.HandleFunc("POST /v1/models/scorer/predict", func(w http.ResponseWriter, _ *http.Request) {
		problem.Write(w, modelmanager.Errorf(modelmanager.CodeModelError, "the model failed: ValueError: nobody is 99"))
	})
	api.Handle("/", hostileAPI(t))
	body := newBrowser(t, newWeb(t, api)).post("/models/scorer/try", "/models/scorer/try", url.Values{"f.x": {"1"}}).Body.String()
	if !strings.Contains(body, "ValueError: nobody is 99.") || strings.Count(strings.ToLower(body), "the model failed") != 1 {
		t.Errorf("%s", body)
	}
}

// TestAFormSpeaksToWhoFillsItIn: what the API says of a missing feature, or of a
// string, is said of an empty field, or of what was typed.
func TestAFormSpeaksToWhoFillsItIn(t *testing.T) {
	kind := func(kind modelmanager.Type, format string) modelmanager.Field {
		return modelmanager.Field{Name: "x", Type: kind, Format: format}
	}
	for _, c := range []struct {
		field modelmanager.Field
		text  string
		want  string
	}{
		{kind(modelmanager.Number, ""), "", "Fill this in."},
		{kind(modelmanager.String, modelmanager.FormatDate), "", "Fill this in."},
		{modelmanager.Field{Name: "x", Type: modelmanager.Integer, Enum: []any{4, 6}}, "", "Choose one."},
		{kind(modelmanager.Integer, ""), "zwölf 🚗", "“zwölf 🚗” is not a number."},
		{kind(modelmanager.Number, ""), "1188,4", "“1188,4” is not a number. Write decimals with a point, 1.5, and thousands without a mark."},
		{kind(modelmanager.Number, ""), strings.Repeat("9x", 1000), "“" + strings.Repeat("9x", 19) + "9…” is not a number."},
		{kind(modelmanager.Number, ""), "1e400", "“1e400” is too large a number."},
		{kind(modelmanager.Number, ""), "-1", "What the API says."},
		{kind(modelmanager.Integer, modelmanager.FormatInt64), "12", "What the API says."},
		{kind(modelmanager.String, ""), "", "What the API says."},
		{kind(modelmanager.String, modelmanager.FormatDate), "soon", "What the API says."},
	} {
		in := newInput(c.field, "f.x")
		in.read(url.Values{"f.x": {c.text}})
		if got := in.complaint("what the API says"); got != c.want {
			t.Errorf("%s %q: %q, want %q", c.field.Type, c.text, got, c.want)
		}
	}
}

func TestAModelThatSleepsIsWaitedFor(t *testing.T) {
	api := &fakeAPI{ServeMux: http.NewServeMux()}
	var preferred []string
	api.HandleFunc("POST /v1/models/scorer/predict", func(w http.ResponseWriter, r *http.Request) {
		preferred = append(preferred, r.Header.Get("Prefer"))
		problem.Write(w, &modelmanager.Error{Code: modelmanager.CodeUnavailable, Detail: "version 2 is loading", RetryAfter: time.Second})
	})
	info := modelmanager.ModelInfo{}
	recorder := httptest.NewRecorder()
	inner := hostileAPI(t)
	inner.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/v1/models/scorer", nil))
	if err := json.Unmarshal(recorder.Body.Bytes(), &info); err != nil {
		t.Fatal(err)
	}
	info.Health = modelmanager.Health{State: modelmanager.Starting, Reason: "importing its packages"}
	api.json("GET /v1/models/scorer", info)
	api.Handle("/", inner)
	b := newBrowser(t, newWeb(t, api))
	if answer := b.post("/models/scorer/try", "/models/scorer/try", url.Values{}); answer.Code != http.StatusServiceUnavailable || !strings.Contains(answer.Body.String(), "Version 2 is loading") && !strings.Contains(answer.Body.String(), "version 2 is loading") {
		t.Errorf("without htmx: %d %s", answer.Code, answer.Body)
	}
	page := b.get("/models/scorer/try").Body.String()
	form := url.Values{"csrf": {tokenInForm.FindStringSubmatch(page)[1]}}
	b.header.Set("HX-Request", "true")
	answer := b.do(http.MethodPost, "/models/scorer/try", form).Body.String()
	if !strings.Contains(answer, "Importing its packages.") || !strings.Contains(answer, `hx-trigger="load delay:700ms, again"`) || !strings.Contains(answer, `name="since"`) {
		t.Errorf("with htmx: %s", answer)
	}
	form.Set("since", fmt.Sprint(time.Now().Add(-time.Hour).Unix()))
	if answer := b.do(http.MethodPost, "/models/scorer/try", form).Body.String(); strings.Contains(answer, "load delay") {
		t.Error("htmx asks for ever")
	}
	if cmp.Diff(preferred, []string{"wait=60", "wait=2", "wait=2"}) != "" {
		t.Errorf("%v", preferred)
	}
}

// TestProgramsAreToldThePublicAddress: and not the one of a tunnel that a
// visitor came through.
func TestProgramsAreToldThePublicAddress(t *testing.T) {
	web := newWeb(t, hostileAPI(t))
	if page := newBrowser(t, web).get("/models/scorer/try?example=1").Body.String(); !strings.Contains(page, "http://example.com/v1/models/scorer/predict") {
		t.Error("without one, it isn't the visitor's")
	}
	web.PublicURL = "https://models.example.org"
	if page := newBrowser(t, web).get("/models/scorer/try?example=1").Body.String(); !strings.Contains(page, "https://models.example.org/v1/models/scorer/predict") || strings.Contains(page, "example.com") {
		t.Error("it isn't the public one")
	}
}

func TestCodeRuns(t *testing.T) {
	row := json.RawMessage(`{"a": 1.50, "b": "it's \"<é>\" \u2028 $(touch /tmp/x) \\", "c": [true, null, [1, 2], {}], "d": {"e": "f", "g": []}}`)
	var want any
	if err := json.Unmarshal(row, &want); err != nil {
		t.Fatal(err)
	}
	same := func(language string, output []byte, err error) {
		t.Helper()
		var got any
		if err != nil || json.Unmarshal(output, &got) != nil || !cmp.Equal(want, got) {
			t.Errorf("%s: %v %s", language, err, output)
		}
	}
	python, err := exec.CommandContext(t.Context(), "python3", "-c", "import json; print(json.dumps("+pythonLiteral(row)+"))").Output()
	same("Python", python, err)
	script := strings.Replace(curlCode("http://127.0.0.1/a'b", string(row), false), "curl ", "set -- ", 1) + `for last; do :; done; printf %s "$last"`
	shell, err := exec.CommandContext(t.Context(), "sh", "-c", script).Output()
	same("curl", shell, err)
}

func TestCallsInProcess(t *testing.T) {
	release := make(chan struct{})
	handler := http.NewServeMux()
	handler.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
			return
		}
		_, _ = io.WriteString(w, "second\n")
	})
	handler.HandleFunc("GET /breaks", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		panic(http.ErrAbortHandler)
	})
	handler.HandleFunc("GET /hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	handler.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Path", r.URL.EscapedPath())
		w.WriteHeader(http.StatusCreated)
		_, _ = io.Copy(w, r.Body)
	})
	client := &http.Client{Transport: inProcess{handler}}

	response, err := client.Get("http://127.0.0.1/stream")
	if err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 100)
	if n, err := response.Body.Read(buffer); err != nil || string(buffer[:n]) != "first\n" {
		t.Errorf("%q %v", buffer[:n], err)
	}
	close(release)
	if rest, err := io.ReadAll(response.Body); err != nil || string(rest) != "second\n" {
		t.Errorf("%q %v", rest, err)
	}
	response.Body.Close()

	if response, err = client.Get("http://127.0.0.1/breaks"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(response.Body); err == nil {
		t.Error("half of an answer was taken for all of it")
	}
	response.Body.Close()

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	request, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1/hangs", nil)
	if _, err := client.Do(request); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}

	if response, err = client.Post("http://127.0.0.1/echo", "text/plain", strings.NewReader("hello")); err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if data, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusCreated || string(data) != "hello" || response.Header.Get("X-Path") != "/echo" {
		t.Errorf("%d %q", response.StatusCode, data)
	}
}

func TestWordsForPeople(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for want, got := range map[string]string{
		"just now": ago(now, now.Add(-10*time.Second)), "5 minutes ago": ago(now, now.Add(-5*time.Minute)), "3 hours ago": ago(now, now.Add(-3*time.Hour)),
		"2 days ago": ago(now, now.Add(-48*time.Hour)), "never": ago(now, time.Time{}),
		"1 row": plural(1, "row"), "12,000 rows": plural(int64(12000), "row"), "2 copies": plural(2, "copy"), "2 days": plural(2, "day"),
		"-1,234,567": count(-1234567), "0.3333": number(1.0 / 3), "12,345.6": "12,345.6", "1,235": number(1234.5), "1.00e-05": number(1e-5),
		"1.5 MB": byteSize(1_500_000), "999 bytes": byteSize(999), "1.0 MB": byteSize(999_990),
		"a, b and c": listed([]string{"a", "b", "c"}, "and"), "0 to 20": rangeWords(modelmanager.Field{Minimum: ptr(0.), Maximum: ptr(20.)}),
		"63 %": percentWords(.6335), "99.5 %": percentWords(.995), "over 99.9 %": percentWords(.99999), "100 %": percentWords(1), "0 %": percentWords(0),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
