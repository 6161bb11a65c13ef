package web

import (
	"net/http"
	"strings"
	"testing"

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
