package web

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"modelmanager.dev"
)

// TestErrorPages: each says what happened, in a sentence of the API's words, and what to do.
func TestErrorPages(t *testing.T) {
	for code, want := range map[modelmanager.Code]struct {
		status int
		advice string
	}{
		modelmanager.CodeForbidden:   {http.StatusForbidden, "send the sentence above to whoever runs this server"},
		modelmanager.CodeNotFound:    {http.StatusNotFound, "The catalogue has every model"},
		modelmanager.CodeRetired:     {http.StatusGone, "answers no more"},
		modelmanager.CodeInternal:    {http.StatusInternalServerError, "a fault of the server"},
		modelmanager.CodeUnavailable: {http.StatusServiceUnavailable, "Try again in 1 second"},
	} {
		api := &fakeAPI{ServeMux: http.NewServeMux()}
		api.fails("GET /v1/models/scorer", code, "what happened "+hostile)
		b := newBrowser(t, newWeb(t, api))
		answer := b.get("/models/scorer")
		if answer.Code != want.status || !strings.Contains(answer.Body.String(), "What happened") || !strings.Contains(answer.Body.String(), want.advice) {
			t.Errorf("%s: %d %s", code, answer.Code, answer.Body)
		}
		check(t, string(code), answer.Body.String())
		b.header.Set("HX-Request", "true")
		if answer := b.get("/models/scorer"); answer.Code != want.status || !strings.Contains(answer.Body.String(), `role="alert"`) || strings.Contains(answer.Body.String(), "<html") {
			t.Errorf("%s as a part: %d %s", code, answer.Code, answer.Body)
		}
	}
}

// TestAFailureOfOursTellsNothing: neither an error without a code nor a panic
// is told to a visitor.
func TestAFailureOfOursTellsNothing(t *testing.T) {
	web := newWeb(t, hostileAPI(t))
	web.get("/test/fails", func(*visit) error { return errors.New("secret") })
	web.get("/test/panics", func(*visit) error { panic("secret") })
	b := newBrowser(t, web)
	for _, path := range []string{"/test/fails", "/test/panics"} {
		answer := b.get(path)
		if answer.Code != http.StatusInternalServerError || strings.Contains(answer.Body.String(), "secret") || !strings.Contains(answer.Body.String(), "its log says why") {
			t.Errorf("%s: %d %s", path, answer.Code, answer.Body)
		}
	}
}

// TestASentenceLeavesNamesAlone: who sends it to the operator sends a name that
// there is.
func TestASentenceLeavesNamesAlone(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "row 0, x: is missing": "Row 0, x: is missing.", "gone!": "Gone!", "it’s gone.": "It’s gone.", "gone": "Gone.",
		"ann@example.org may not predict": "ann@example.org may not predict.", "id2 may not list": "id2 may not list.",
		"system:serviceaccount:a:b may not list": "system:serviceaccount:a:b may not list.", "donor-reply has no version": "donor-reply has no version.",
		"Är": "Är.", "\"a\" is none": "\"a\" is none.",
	} {
		if got := sentence(text); got != want {
			t.Errorf("%q is %q, not %q", text, got, want)
		}
	}
}
