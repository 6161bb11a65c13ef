package web

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"modelmanager.dev"
	"modelmanager.dev/internal/problem"
)

// saidBy is what a page says in its main part.
func saidBy(t *testing.T, body string) string {
	t.Helper()
	document, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	var visit func(*html.Node)
	visit = func(node *html.Node) {
		if node.Type == html.TextNode {
			b.WriteString(node.Data + " ")
		}
		for child := node.FirstChild; child != nil; child = child.NextSibling {
			visit(child)
		}
	}
	visit(document)
	return strings.Join(strings.Fields(b.String()), " ")
}

// trafficAPI is the API of a model with some traffic, of which setting 2 is
// the last but one.
func trafficAPI(t *testing.T, change func(*modelmanager.ModelInfo)) *fakeAPI {
	t.Helper()
	f := &fakeAPI{ServeMux: http.NewServeMux()}
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	info := modelmanager.ModelInfo{
		Name: "plain", Serve: []modelmanager.Mode{"realtime"}, Latest: 3, Health: modelmanager.Health{State: modelmanager.Healthy},
		Traffic: modelmanager.TrafficInfo{Traffic: modelmanager.Traffic{Versions: []modelmanager.Share{{Version: 2, Percent: 100}}, At: at, By: "ana"}},
	}
	change(&info)
	f.json("GET /v1/models/plain", info)
	f.json("GET /v1/models/plain/traffic/history", modelmanager.TrafficHistory{History: []modelmanager.Traffic{info.Traffic.Traffic, {Versions: modelmanager.All(1).Versions, Shadow: 3}}})
	f.HandleFunc("GET /v1/models/plain/versions/{version}", func(w http.ResponseWriter, r *http.Request) {
		var number int
		_ = json.Unmarshal([]byte(r.PathValue("version")), &number)
		canonical, err := hostileSpec().Canonical()
		if err != nil {
			t.Error(err)
		}
		_ = json.NewEncoder(w).Encode(modelmanager.VersionInfo{Model: "plain", Version: number, Spec: json.RawMessage(canonical), Percent: map[int]int{2: 100}[number]})
	})
	f.HandleFunc("GET /v1/models/plain/versions", func(w http.ResponseWriter, _ *http.Request) {
		var list modelmanager.VersionList
		for number := info.Latest; number > max(0, info.Latest-numbersListed); number-- {
			list.Versions = append(list.Versions, modelmanager.VersionInfo{Model: "plain", Version: number, Percent: map[int]int{2: 100}[number]})
		}
		if info.Latest > numbersListed {
			list.NextPageToken = "more"
		}
		_ = json.NewEncoder(w).Encode(list)
	})
	set := func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			modelmanager.Traffic
			Seen *time.Time
		}
		_ = json.NewDecoder(r.Body).Decode(&asked)
		if asked.Seen == nil || !asked.Seen.Equal(at) {
			problem.Write(w, modelmanager.Errorf(modelmanager.CodeConflict, "setting the traffic of plain: ben changed it meanwhile; look at it again"))
			return
		}
		_ = json.NewEncoder(w).Encode(modelmanager.TrafficInfo{Traffic: asked.Traffic, Pending: info.Traffic.Pending})
	}
	f.HandleFunc("PUT /v1/models/plain/traffic", set)
	f.HandleFunc("POST /v1/models/plain/rollback", set)
	return f
}

// TestWhoAnswersNow: while a version isn't ready, the pages say who answers,
// what was asked for, and why that isn't in force.
func TestWhoAnswersNow(t *testing.T) {
	b := newBrowser(t, newWeb(t, trafficAPI(t, func(info *modelmanager.ModelInfo) {
		info.Traffic.Pending = &modelmanager.Pending{Answering: modelmanager.All(1).Versions, Reason: "version 2 can't start: it has no model.pkl; it is being tried again, and version 1 goes on answering"}
		info.Health = modelmanager.Health{State: modelmanager.Degraded, Reason: info.Traffic.Pending.Reason}
	})))
	for page, wants := range map[string][]string{
		"/models/plain/traffic":                             {"Who answers now Version 1 100 %", "The last change isn’t in force yet: that version 2 answers", "Version 2 can't start: it has no model.pkl", "version 2 not in force yet"},
		"/models/plain/traffic/change?do=promote&version=3": {"Now, version 1 answers.", "until then version 1 answers as before", "The change that isn’t in force yet, to version 2, is dropped."},
		"/models/plain/versions":                            {"Version 1 answers 100 %", "Version 2 100 % as soon as the last change is in force"},
		"/models/plain/versions/2":                          {"Answers no calls 100 % as soon as the last change is in force"},
	} {
		answer := b.get(page)
		text := saidBy(t, answer.Body.String())
		for _, want := range wants {
			if answer.Code != http.StatusOK || !strings.Contains(text, want) {
				t.Errorf("%s (%d) doesn't say %q: %s", page, answer.Code, want, text)
			}
		}
	}
	b.post("/", "/models/plain/traffic", url.Values{"do": {"promote"}, "version": {"3"}, "seen": {"2026-11-01T12:00:00Z"}})
	if text := saidBy(t, b.get("/models/plain/traffic").Body.String()); !strings.Contains(text, "It is set: version 3 answers as soon as it is ready. Until then, version 1 goes on answering.") {
		t.Error(text)
	}
}

func TestTrafficChangedMeanwhile(t *testing.T) {
	api := trafficAPI(t, func(*modelmanager.ModelInfo) {})
	b := newBrowser(t, newWeb(t, api))
	for _, form := range []url.Values{
		{"do": {"rollback"}, "seen": {"2026-11-01T11:00:00Z"}},
		{"do": {"promote"}, "version": {"1"}, "seen": {"2026-11-01T11:00:00Z"}},
		{"do": {"canary"}, "version": {"1"}, "percent": {"5"}, "seen": {"2026-11-01T11:00:00Z"}},
	} {
		answer := b.post("/", "/models/plain/traffic", form)
		text := saidBy(t, answer.Body.String())
		if answer.Code != http.StatusConflict || !strings.Contains(text, "ben changed it meanwhile") || !strings.Contains(answer.Body.String(), `href="/models/plain/traffic">See how it is now</a>`) {
			t.Errorf("%v: %d %s", form, answer.Code, text)
		}
		form.Set("seen", "2026-11-01T12:00:00Z")
		if answer := b.post("/", "/models/plain/traffic", form); answer.Code != http.StatusSeeOther {
			t.Errorf("%v: %d", form, answer.Code)
		}
	}
	calls := len(api.calls)
	if answer := b.post("/", "/models/plain/traffic", url.Values{"do": {"promote"}, "version": {"1"}}); answer.Code != http.StatusBadRequest {
		t.Errorf("without what was seen: %d", answer.Code)
	}
	if slices.ContainsFunc(api.calls[calls:], func(call string) bool { return strings.HasPrefix(call, "PUT") }) {
		t.Error("it was set")
	}
}

func TestWhatAChangeOfTrafficWillDo(t *testing.T) {
	b := newBrowser(t, newWeb(t, hostileAPI(t)))
	for path, want := range map[string]string{
		"do=promote&version=1":            "Version 1 will answer every call of scorer.",
		"do=canary&version=1&percent=10":  "about 10 will be answered by version 1 and 90 by version 2",
		"do=canary&version=2&percent=10":  "Promote it instead",
		"do=canary&version=1&percent=100": "from 1 to 99",
		"do=promote&version=":             "Choose a version",
		"do=rollback&reason=x":            "Version 2 is taking over step by step; this ends that.",
		"do=rollback":                     "The setting before comes back: version 1 will answer",
		"do=dance":                        "nothing that can be done",
	} {
		if body := b.get("/models/scorer/traffic/change?" + path).Body.String(); !strings.Contains(body, want) {
			t.Errorf("%s lacks %q", path, want)
		}
	}
}

// TestNothingIsLeftOutOfAChange: what ends with it is said, too.
func TestNothingIsLeftOutOfAChange(t *testing.T) {
	b := newBrowser(t, newWeb(t, trafficAPI(t, func(info *modelmanager.ModelInfo) {
		info.Latest = 4
		info.Traffic.Versions = []modelmanager.Share{{Version: 2, Percent: 60}, {Version: 1, Percent: 30}, {Version: 3, Percent: 10}}
		info.Traffic.Shadow = 4
	})))
	for path, want := range map[string][]string{
		"do=promote&version=2":           {"Version 4 gets a copy of every call now, as a shadow. That ends.", "Version 1, which answers 30 % now, gets no calls any more.", "Version 3, which answers 10 % now"},
		"do=canary&version=1&percent=50": {"50 by version 2", "Version 3, which answers 10 % now, gets no calls any more."},
		"do=rollback":                    {"Version 4 gets a copy of every call now, as a shadow. That ends.", "Version 3 gets a copy of every call, as a shadow"},
	} {
		text := saidBy(t, b.get("/models/plain/traffic/change?"+path).Body.String())
		for _, each := range want {
			if !strings.Contains(text, each) {
				t.Errorf("%s doesn't say %q: %s", path, each, text)
			}
		}
		if strings.Contains(text, "Traffic-Key") {
			t.Errorf("%s speaks to programs", path)
		}
	}
	if text := saidBy(t, b.get("/models/plain/traffic/change?do=canary&version=1&percent=50").Body.String()); strings.Contains(text, "shadow. That ends") {
		t.Errorf("a shadow that stays is said to end: %s", text)
	}
}

// TestAnyOfManyVersionsIsChosen: of a model with more versions than a list
// takes, what was asked for stays chosen.
func TestAnyOfManyVersionsIsChosen(t *testing.T) {
	b := newBrowser(t, newWeb(t, trafficAPI(t, func(info *modelmanager.ModelInfo) { info.Latest = 450 })))
	for page, want := range map[string][]string{
		"/models/plain/traffic?version=7": {`id="promote-version" name="version" type="number" min="1" max="450" step="1" inputmode="numeric" value="7"`},
		"/models/plain/try?version=7":     {`id="version" name="version" type="number" min="1" max="450" step="1" inputmode="numeric" value="7" aria`},
		"/models/plain/compare?from=7&to=9": {`id="from" name="from" type="number" min="1" max="450" step="1" inputmode="numeric" value="7"`,
			`id="to" name="to" type="number" min="1" max="450" step="1" inputmode="numeric" value="9"`},
	} {
		answer := b.get(page)
		for _, each := range want {
			if answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), each) {
				t.Errorf("%s (%d) lacks %s", page, answer.Code, each)
			}
		}
	}
}

// TestNothingToPromote: of a model with one version that answers every call
// nothing is offered that changes nothing.
func TestNothingToPromote(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*modelmanager.ModelInfo)
		only   bool
	}{
		"the only one answers all": {func(info *modelmanager.ModelInfo) { info.Traffic.Traffic.Versions = modelmanager.All(1).Versions }, true},
		"it answers nothing":       {func(info *modelmanager.ModelInfo) { info.Traffic.Traffic.Versions = nil }, false},
		"it isn't ready": {func(info *modelmanager.ModelInfo) {
			info.Traffic.Traffic.Versions, info.Traffic.Pending = modelmanager.All(1).Versions, &modelmanager.Pending{Reason: "it starts"}
		}, false},
		"there is another": {func(info *modelmanager.ModelInfo) {
			info.Latest, info.Traffic.Traffic.Versions = 2, modelmanager.All(1).Versions
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			api := trafficAPI(t, func(info *modelmanager.ModelInfo) { info.Latest = 1; test.change(info) })
			body := newBrowser(t, newWeb(t, api)).get("/models/plain/traffic").Body.String()
			check(t, name, body)
			if says := strings.Contains(saidBy(t, body), "There is no other version yet; version 1 answers every call."); says != test.only || strings.Contains(body, "Promote …") == test.only {
				t.Errorf("it is said: %t; %s", says, saidBy(t, body))
			}
		})
	}
}
