package web

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/problem"
)

func TestAFormNeedsItsToken(t *testing.T) {
	api := hostileAPI(t)
	web := newWeb(t, api)
	own, other := newBrowser(t, web), newBrowser(t, web)
	form := func() url.Values {
		return url.Values{"do": {"promote"}, "version": {"1"}, "seen": {"2026-11-01T14:00:00Z"}}
	}
	stolen := tokenInForm.FindStringSubmatch(other.get("/").Body.String())[1]
	for name, token := range map[string]string{"none": "", "another's": stolen, "nonsense": "AAAA", "short": "_"} {
		own.get("/")
		values := form()
		values.Set("csrf", token)
		if answer := own.do(http.MethodPost, "/models/scorer/traffic", values); answer.Code != http.StatusForbidden {
			t.Errorf("%s: %d", name, answer.Code)
		}
	}
	if slices.Contains(api.calls, "PUT /v1/models/scorer/traffic") {
		t.Fatal("the traffic was changed without a token")
	}
	if answer := own.post("/", "/models/scorer/traffic", form()); answer.Code != http.StatusSeeOther || answer.Header().Get("Location") != "/models/scorer/traffic" {
		t.Errorf("with the token: %d %s", answer.Code, answer.Body)
	}
	if page := own.get("/models/scorer/traffic").Body.String(); !strings.Contains(page, "From now on, version 1 answers.") {
		t.Error("the page doesn't say what was done")
	}
	if page := own.get("/models/scorer/traffic").Body.String(); strings.Contains(page, "From now on") {
		t.Error("the page says it twice")
	}
	first, second := tokenInForm.FindStringSubmatch(own.get("/").Body.String())[1], tokenInForm.FindStringSubmatch(own.get("/").Body.String())[1]
	if first == second {
		t.Error("two pages have the same token, so that their compressed sizes can give it away")
	}
}

func TestAnUploadNeedsItsToken(t *testing.T) {
	web := newWeb(t, hostileAPI(t))
	var read []string
	web.upload("/test-upload", func(v *visit) error {
		parts, err := v.parts()
		if err != nil {
			return err
		}
		part, err := parts.NextPart()
		if err == nil {
			read = append(read, part.FormName())
		}
		return err
	})
	b := newBrowser(t, web)
	token := tokenInForm.FindStringSubmatch(b.get("/").Body.String())[1]
	for _, c := range []struct {
		first, value string
		want         int
	}{{"csrf", token, 200}, {"csrf", "AAAA", 403}, {"file", token, 403}} {
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		_ = form.WriteField(c.first, c.value)
		_ = form.WriteField("file", "data")
		form.Close()
		r := httptest.NewRequest(http.MethodPost, "/test-upload", &body)
		r.Header.Set("Content-Type", form.FormDataContentType())
		for name, value := range b.cookies {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		w := httptest.NewRecorder()
		web.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s=%s: %d", c.first, c.value, w.Code)
		}
	}
	if len(read) != 1 || read[0] != "file" {
		t.Errorf("read %v", read)
	}
}

// guarded is an API that knows one token.
func guarded(t *testing.T, token string) *fakeAPI {
	t.Helper()
	inner := hostileAPI(t)
	f := &fakeAPI{ServeMux: http.NewServeMux()}
	f.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			problem.Write(w, modelmanager.Errorf(modelmanager.CodeUnauthenticated, "the token is nobody's"))
			return
		}
		inner.ServeHTTP(w, r)
	})
	return f
}

func TestSigningIn(t *testing.T) {
	token := strings.Repeat("t0ken.", 2000) // longer than one cookie
	api := guarded(t, token)
	web := newWeb(t, api)
	b := newBrowser(t, web)
	answer := b.get("/models/scorer?x=1")
	if answer.Code != http.StatusSeeOther || answer.Header().Get("Location") != "/sign-in?to=%2Fmodels%2Fscorer%3Fx%3D1" {
		t.Fatalf("%d %v", answer.Code, answer.Header())
	}
	page := answer.Header().Get("Location")
	for wrong, status := range map[string]int{"": 422, "two words": 422, "wrong": 401} {
		if answer := b.post(page, "/sign-in", url.Values{"token": {wrong}, "to": {"/models/scorer"}}); answer.Code != status {
			t.Errorf("%q: %d", wrong, answer.Code)
		}
	}
	before := b.cookies[web.cookie]
	answer = b.post(page, "/sign-in", url.Values{"token": {" " + token + "\n"}, "to": {"/models/scorer?x=1"}})
	if answer.Code != http.StatusSeeOther || answer.Header().Get("Location") != "/models/scorer?x=1" || b.cookies[web.cookie] == before || len(b.cookies) < 3 {
		t.Fatalf("%d %v, %d cookies", answer.Code, answer.Header(), len(b.cookies))
	}
	for _, cookie := range answer.Result().Cookies() {
		if !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || strings.Contains(cookie.Value, "t0ken") {
			t.Errorf("%+v", cookie)
		}
	}
	if answer := b.get("/models/scorer"); answer.Code != http.StatusOK || answer.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("signed in: %d %v", answer.Code, answer.Header())
	}
	// The cookie opens pages alone.
	b.header.Set("Accept", "application/json")
	if answer := b.get("/v1/models"); answer.Code != http.StatusUnauthorized {
		t.Errorf("the API took a cookie: %d", answer.Code)
	}
	b.header.Set("Accept", "text/html")
	if answer := b.post("/", "/sign-out", url.Values{}); answer.Code != http.StatusSeeOther || b.cookies[web.cookie] != "" {
		t.Errorf("signing out: %d %v", answer.Code, b.cookies)
	}
	if answer := b.get("/"); answer.Code != http.StatusSeeOther {
		t.Errorf("signed out: %d", answer.Code)
	}
}

func TestATokenThatEnded(t *testing.T) {
	web := newWeb(t, guarded(t, "new"))
	b := newBrowser(t, web)
	seal := func(s session) string {
		text, err := web.sealed(web.cookie, s)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	b.cookies[web.cookie] = seal(session{ID: "a", Token: "old"})
	if answer := b.get("/models/scorer"); answer.Code != http.StatusUnauthorized || !strings.Contains(answer.Body.String(), "the token is nobody") {
		t.Errorf("a refused token: %d", answer.Code)
	}
	b.cookies[web.cookie] = seal(session{ID: "a", Token: "new", Ends: time.Now().Add(-time.Second).Unix()})
	if answer := b.get("/"); answer.Code != http.StatusSeeOther {
		t.Errorf("a session that ended: %d", answer.Code)
	}
	b.header.Set("HX-Request", "true")
	b.header.Set("HX-Current-URL", "http://127.0.0.1/models/scorer?a=b")
	if answer := b.get("/models/scorer/compare?predictions=1"); answer.Code != http.StatusNoContent || answer.Header().Get("HX-Redirect") != "/sign-in?to=%2Fmodels%2Fscorer%3Fa%3Db" {
		t.Errorf("a part: %d %v", answer.Code, answer.Header())
	}
}

// TestNothingTypedIsLostWithASession: who is signed out, or whose form is of an
// earlier session, is told so beside the form, and can send it again.
func TestNothingTypedIsLostWithASession(t *testing.T) {
	web := newWeb(t, guarded(t, "new"))
	b := newBrowser(t, web)
	b.get("/sign-in")
	b.header.Set("HX-Request", "true")
	answer := b.do(http.MethodPost, "/models/scorer/try", url.Values{"csrf": {tokenInForm.FindStringSubmatch(b.get("/sign-in").Body.String())[1]}})
	body := answer.Body.String()
	if answer.Code != http.StatusUnauthorized || answer.Header().Get("HX-Redirect") != "" || answer.Header().Get(partHeader) == "" ||
		!strings.Contains(body, `role="alert"`) || !strings.Contains(body, `href="/sign-in?to=%2F" target="_blank"`) {
		t.Errorf("signed out: %d %v %s", answer.Code, answer.Header(), body)
	}

	open := newBrowser(t, newWeb(t, hostileAPI(t)))
	form := url.Values{"csrf": {tokenInForm.FindStringSubmatch(open.get("/models/scorer/try").Body.String())[1]}, "f.x": {"1"}}
	clear(open.cookies) // the browser was closed
	open.header.Set("HX-Request", "true")
	answer = open.do(http.MethodPost, "/models/scorer/try", form)
	renewed := regexp.MustCompile(`data-renewed="([^"]+)"`).FindStringSubmatch(answer.Body.String())
	if answer.Code != http.StatusForbidden || answer.Header().Get(partHeader) == "" || !strings.Contains(answer.Body.String(), "do it once more") || renewed == nil {
		t.Fatalf("of an earlier session: %d %s", answer.Code, answer.Body)
	}
	form.Set("csrf", renewed[1])
	if answer := open.do(http.MethodPost, "/models/scorer/try", form); answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), "Answered by") {
		t.Errorf("sent again: %d %s", answer.Code, answer.Body)
	}
}

func TestCookiesOfOthersAreNone(t *testing.T) {
	web := newWeb(t, guarded(t, "token"))
	other, err := New(Config{API: http.NotFoundHandler(), Key: []byte(strings.Repeat("o", 32))})
	if err != nil {
		t.Fatal(err)
	}
	good, _ := web.sealed(web.cookie, session{ID: "a", Token: "token"})
	strange, _ := other.sealed(web.cookie, session{ID: "a", Token: "token"})
	purpose, _ := web.sealed(noteCookie, session{ID: "a", Token: "token"})
	changed := []byte(good)
	changed[len(changed)/2] ^= 1
	b := newBrowser(t, web)
	for name, value := range map[string]string{"another key's": strange, "changed": string(changed), "another purpose's": purpose, "nonsense": "x", "cut": good[:20]} {
		b.cookies = map[string]string{web.cookie: value}
		if answer := b.get("/"); answer.Code != http.StatusSeeOther {
			t.Errorf("%s: %d", name, answer.Code)
		}
	}
	replica := newWeb(t, guarded(t, "token"))
	b = newBrowser(t, replica)
	b.cookies[web.cookie] = good
	if answer := b.get("/"); answer.Code != http.StatusOK {
		t.Errorf("a replica doesn't know the session: %d", answer.Code)
	}
}

func TestCookiesAreSecureWhereHTTPSIs(t *testing.T) {
	b := newBrowser(t, newWeb(t, hostileAPI(t)))
	for proto, want := range map[string]bool{"": false, "http": false, "https": true} {
		b.cookies = map[string]string{}
		b.header.Set("X-Forwarded-Proto", proto)
		for _, cookie := range b.get("/").Result().Cookies() {
			if cookie.Secure != want {
				t.Errorf("%q: %+v", proto, cookie)
			}
		}
	}
}

func TestWhereALinkMayLead(t *testing.T) {
	for text, want := range map[string]string{
		"/": "/", "/models/a?b=c#d": "/models/a?b=c#d", "": "/", "//evil.example": "/", "https://evil.example": "/", `/\evil.example`: "/",
		"javascript:alert(1)": "/", "models": "/", "/\nx": "/", "/%0a": "/%0a", `\\evil`: "/", "/a//b": "/a//b",
	} {
		if got := localPath(text); got != want {
			t.Errorf("%q leads to %q, not %q", text, got, want)
		}
	}
}

func TestThemes(t *testing.T) {
	b := newBrowser(t, newWeb(t, hostileAPI(t)))
	for theme, want := range map[string]string{"dark": ` data-theme="dark"`, "light": ` data-theme="light"`, "auto": "<html lang=\"en\">", "x\"y": "<html lang=\"en\">"} {
		answer := b.post("/", "/theme", url.Values{"theme": {theme}, "to": {"//evil.example"}})
		if answer.Code != http.StatusSeeOther || answer.Header().Get("Location") != "/" || !strings.Contains(b.get("/").Body.String(), want) {
			t.Errorf("%s: %d %v", theme, answer.Code, answer.Header())
		}
	}
}

func TestTheGuardStandsBeforePages(t *testing.T) {
	web, err := New(Config{API: hostileAPI(t), Key: key, Guard: func(*http.Request) error {
		return modelmanager.Errorf(modelmanager.CodeForbidden, "not by this name")
	}})
	if err != nil {
		t.Fatal(err)
	}
	if answer := newBrowser(t, web).get("/"); answer.Code != http.StatusForbidden || !strings.Contains(answer.Body.String(), "Not by this name.") {
		t.Errorf("%d", answer.Code)
	}
	if _, err := New(Config{API: hostileAPI(t), Key: []byte("short")}); err == nil {
		t.Error("a short key was taken")
	}
}
