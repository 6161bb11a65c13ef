package web

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
)

// TestALookIsTheWholePage: what a script looks at to keep a page up to date is
// the page, marked as ours, and takes nothing from the next page.
func TestALookIsTheWholePage(t *testing.T) {
	web := newWeb(t, hostileAPI(t))
	b := newBrowser(t, web)
	note, err := web.sealed(noteCookie, "Something was done.")
	if err != nil {
		t.Fatal(err)
	}
	b.cookies[noteCookie] = note
	b.header.Set(liveHeader, "1")
	for _, page := range []string{"/models/scorer", "/models/scorer/traffic", "/operations", "/jobs", "/"} {
		answer := b.get(page)
		body := answer.Body.String()
		if answer.Code != http.StatusOK || answer.Header().Get(liveHeader) != "1" || !strings.Contains(body, "<main") || strings.Contains(body, "Something was done.") {
			t.Errorf("%s: %d %v", page, answer.Code, answer.Header())
		}
	}
	b.header.Del(liveHeader)
	if page := b.get("/").Body.String(); !strings.Contains(page, "Something was done.") {
		t.Error("a look has taken the note of what was done")
	}
	b.header.Set(liveHeader, "1")
	if answer := b.get("/models/nothing"); answer.Code != http.StatusNotFound || answer.Header().Get(liveHeader) != "1" {
		t.Errorf("%d %v", answer.Code, answer.Header())
	}
	signedOut := newBrowser(t, newWeb(t, guarded(t, "new")))
	signedOut.header.Set(liveHeader, "1")
	if answer := signedOut.get("/models/scorer"); answer.Code != http.StatusUnauthorized || answer.Header().Get(liveHeader) != "1" {
		t.Errorf("signed out: %d %v", answer.Code, answer.Header())
	}
}

// TestAPageIsThereAtOnce: it doesn't wait for other servers, says so, and its
// script gets the rest. What can't be known takes nothing else away.
func TestAPageIsThereAtOnce(t *testing.T) {
	var waits []string
	api := trafficAPI(t, func(info *modelmanager.ModelInfo) {})
	api.HandleFunc("GET /v1/models/plain/activity", func(w http.ResponseWriter, r *http.Request) {
		waits = append(waits, r.URL.Query().Get("wait_ms"))
		incomplete := ""
		if r.URL.Query().Get("wait_ms") != "2000" {
			incomplete = `, "incomplete": "a server is slow"`
		}
		_, _ = w.Write([]byte(`{"model": "plain", "versions": []` + incomplete + `}`))
	})
	b := newBrowser(t, newWeb(t, api))
	if page := b.get("/models/plain").Body.String(); !strings.Contains(page, "data-incomplete") || strings.Contains(page, "a server is slow") {
		t.Error("the page doesn't ask for the rest")
	}
	b.header.Set(liveHeader, "1")
	if page := b.get("/models/plain").Body.String(); strings.Contains(page, "data-incomplete") {
		t.Error("the page asks for ever")
	}
	if len(waits) != 2 || waits[0] != "30" || waits[1] != "2000" {
		t.Errorf("%v", waits)
	}
	b.header.Del(liveHeader)

	failing := trafficAPI(t, func(info *modelmanager.ModelInfo) {})
	failing.fails("GET /v1/models/plain/activity", modelmanager.CodeUnavailable, "nobody counts")
	answer := newBrowser(t, newWeb(t, failing)).get("/models/plain")
	if text := saidBy(t, answer.Body.String()); answer.Code != http.StatusOK || !strings.Contains(text, "What it needs") || !strings.Contains(text, "can’t be known now. Nobody counts.") {
		t.Errorf("%d %s", answer.Code, text)
	}
}

// TestNothingIsSaidOfWhatNobodyKnows: of the time before a server was started
// the page says no number, and the charts have a gap.
func TestNothingIsSaidOfWhatNobodyKnows(t *testing.T) {
	from := time.Date(2026, 11, 22, 8, 30, 0, 0, time.UTC)
	minute := func(after int, calls int64) modelmanager.MinuteActivity {
		return modelmanager.MinuteActivity{At: from.Add(time.Duration(after) * time.Minute), Replicas: 1, CallCounts: modelmanager.CallCounts{Calls: calls}}
	}
	for _, test := range []struct {
		name    string
		since   time.Duration // after the hour's beginning
		minutes []modelmanager.MinuteActivity
		says    string
		dots    int // values of the chart of calls
	}{
		{"all is known", -time.Hour, []modelmanager.MinuteActivity{minute(1, 7), minute(50, 2)}, "9 calls in the last hour, none of which failed.", 60},
		{"a server was restarted", 42*time.Minute + 30*time.Second, []modelmanager.MinuteActivity{minute(1, 7), minute(50, 2)},
			"Known since 09:12 UTC: 2 calls in the last hour, none of which failed.", 18},
		{"nobody has asked since", 42 * time.Minute, []modelmanager.MinuteActivity{minute(1, 7)}, "Known since 09:12 UTC: nobody has asked since then.", 0},
		{"nobody has asked", -time.Hour, nil, "Nobody has asked in the last hour.", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			api := trafficAPI(t, func(*modelmanager.ModelInfo) {})
			api.json("GET /v1/models/plain/activity", modelmanager.ModelActivity{Model: "plain", From: from, To: from.Add(time.Hour), KnownSince: from.Add(test.since),
				Versions: []modelmanager.VersionMinutes{{Version: 2, Minutes: test.minutes}}})
			body := newBrowser(t, newWeb(t, api)).get("/models/plain").Body.String()
			if text := saidBy(t, body); !strings.Contains(text, test.says) {
				t.Errorf("it doesn't say %q: %s", test.says, text)
			}
			_, line, _ := strings.Cut(body, `class="line-1" d="`)
			line, _, _ = strings.Cut(line, `"`)
			if got := strings.Count(line, "M") + strings.Count(line, "L"); got != test.dots {
				t.Errorf("the line of calls has %d values, not %d: %s", got, test.dots, line)
			}
		})
	}
}

// TestItIsSaidSinceWhenCallsAreKnown: of less than five minutes, too.
func TestItIsSaidSinceWhenCallsAreKnown(t *testing.T) {
	at := time.Date(2026, 11, 22, 9, 15, 0, 0, time.UTC)
	for ago, says := range map[time.Duration]bool{3 * time.Minute: true, 10 * time.Minute: false} {
		f := &fakeAPI{ServeMux: http.NewServeMux()}
		activity := modelmanager.Activity{At: at, KnownSince: at.Add(-ago)}
		f.HandleFunc("GET /v1/activity", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(activity) })
		f.json("GET /v1/jobs", modelmanager.JobList{})
		f.json("GET /v1/models", modelmanager.ModelList{Models: []modelmanager.ModelInfo{{Name: "busy"}}})
		text := saidBy(t, newBrowser(t, newWeb(t, f)).get("/operations").Body.String())
		if strings.Contains(text, "known since 09:12 UTC") != says || strings.Contains(text, "nothing has been called since 09:12 UTC") != says {
			t.Errorf("after %v: %s", ago, text)
		}
		activity.Versions = []modelmanager.VersionActivity{{Model: "busy", Version: 1, CallCounts: modelmanager.CallCounts{Calls: 7}}}
		want := map[bool]string{true: "7 calls since 09:12 UTC", false: "7 calls in 5 minutes"}[says]
		if text := saidBy(t, newBrowser(t, newWeb(t, f)).get("/").Body.String()); !strings.Contains(text, want) {
			t.Errorf("the catalogue, after %v: %s", ago, text)
		}
	}
}
