package web

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"modelmanager.dev/internal/auth"
	"modelmanager.dev/internal/auth/oidc"
	"modelmanager.dev/internal/problem"
	"modelmanager.dev/test/oidcprovider"
)

// site is the page with a real provider, and a browser that follows nothing.
type site struct {
	t        *testing.T
	url      string
	provider *oidcprovider.Provider
	browser  *http.Client
}

// newSite starts the page; change changes what it knows of the provider.
func newSite(t *testing.T, change func(*oidc.Options)) *site {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	s := &site{t: t, url: "http://" + server.Listener.Addr().String()}
	s.provider = oidcprovider.Start(t, s.url+callbackPath)
	options := oidc.Options{
		Issuer: s.provider.Issuer, Audience: oidcprovider.ClientID, ClientSecret: oidcprovider.ClientSecret, UsernamePrefix: "-", DisplayName: "Example & Co",
	}
	if change != nil {
		change(&options)
	}
	people, err := oidc.New(options)
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = newProviderWeb(t, people, s.url)
	server.Start()
	t.Cleanup(server.Close)
	s.newBrowser()
	return s
}

// newProviderWeb makes the page over an API that knows the provider's people.
func newProviderWeb(t *testing.T, people interface {
	Provider
	auth.Authenticator
}, address string) *Web {
	t.Helper()
	inner := hostileAPI(t)
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if _, err := people.Authenticate(r.Context(), token); err != nil {
			problem.Write(w, err)
			return
		}
		inner.ServeHTTP(w, r)
	})
	w, err := New(Config{
		API: api, Key: key, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Provider: people, PublicURL: address,
		Who: func(_ context.Context, token string) (string, error) {
			who, err := people.Authenticate(t.Context(), token)
			return who.Name, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (s *site) newBrowser() {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.browser = &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// get gets a page, and returns where it leads or its text.
func (s *site) get(address string, want int, cookies ...*http.Cookie) (*http.Response, string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	for _, cookie := range cookies {
		r.AddCookie(cookie)
	}
	answer, err := s.browser.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != want {
		s.t.Fatalf("%s: %s, not %d: %s (%v)", address, answer.Status, want, body, err)
	}
	if location := answer.Header.Get("Location"); location != "" {
		return answer, location
	}
	return answer, string(body)
}

// leave goes to the provider; it returns where that is, and the attempt's cookie.
func (s *site) leave(to string) (*url.URL, *http.Cookie) {
	s.t.Helper()
	answer, location := s.get(s.url+"/sign-in/provider?"+url.Values{"to": {to}}.Encode(), http.StatusSeeOther)
	address, err := url.Parse(location)
	if err != nil || !strings.HasPrefix(location, s.provider.Issuer) {
		s.t.Fatalf("sent to %s (%v)", location, err)
	}
	for _, cookie := range answer.Cookies() {
		if strings.HasPrefix(cookie.Name, attemptCookie) {
			if !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != callbackPath || cookie.MaxAge != 600 || strings.Contains(cookie.Value, address.Query().Get("nonce")) {
				s.t.Errorf("%+v", cookie)
			}
			return address, cookie
		}
	}
	s.t.Fatal("no cookie keeps the attempt")
	return nil, nil
}

// stranger tells whether nobody is signed in.
func (s *site) stranger() {
	s.t.Helper()
	if _, location := s.get(s.url+"/models/scorer", http.StatusSeeOther); !strings.HasPrefix(location, "/sign-in") {
		s.t.Errorf("sent to %s", location)
	}
}

func TestSigningInAtTheProvider(t *testing.T) {
	s := newSite(t, nil)
	_, location := s.get(s.url+"/models/scorer?x=1", http.StatusSeeOther)
	_, page := s.get(s.url+location, http.StatusOK)
	for _, want := range []string{`href="/sign-in/provider?to=%2Fmodels%2Fscorer%3Fx%3D1"`, "Sign in with Example &amp; Co", `name="token"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s: %s", want, page)
		}
	}
	check(t, "/sign-in", page)
	address, cookie := s.leave("/models/scorer?x=1")
	came := s.provider.Authorize(s.browser, address.String())
	answer, location := s.get(came.String(), http.StatusSeeOther)
	if location != "/models/scorer?x=1" || answer.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("sent to %s, %v", location, answer.Header)
	}
	if _, page := s.get(s.url+location, http.StatusOK); !strings.Contains(page, oidcprovider.User) {
		t.Error("the page doesn't say who is signed in")
	}

	// The address that the browser came back by is worth nothing any more.
	s.get(came.String(), http.StatusBadRequest)
	s.newBrowser()
	s.get(came.String(), http.StatusBadRequest)
	if _, page := s.get(came.String(), http.StatusUnauthorized, &http.Cookie{Name: cookie.Name, Value: cookie.Value}); !strings.Contains(page, "its code was used") {
		t.Errorf("the code was redeemed twice: %s", page)
	}
	s.stranger()
}

// TestTheSessionEndsWithTheToken: it has the token's own end.
func TestTheSessionEndsWithTheToken(t *testing.T) {
	s := newSite(t, nil)
	address, _ := s.leave("/")
	came := s.provider.Authorize(s.browser, address.String())
	answer, _ := s.get(came.String(), http.StatusSeeOther)
	web := newWeb(t, http.NotFoundHandler()) // it has the same key
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, cookie := range answer.Cookies() {
		if cookie.MaxAge >= 0 {
			r.AddCookie(cookie)
		}
	}
	got := web.readSession(r)
	claims, ok := auth.ReadClaims(got.Token)
	if !ok || got.Ends != claims.Expires.Unix() || time.Until(claims.Expires) > time.Hour {
		t.Errorf("the session ends at %d, the token at %s", got.Ends, claims.Expires)
	}
}

func TestSignInsThatAreNotTaken(t *testing.T) {
	s := newSite(t, nil)
	changed := func(address *url.URL, change func(url.Values)) string {
		next, query := *address, address.Query()
		change(query)
		next.RawQuery = query.Encode()
		return next.String()
	}
	address, _ := s.leave("/")
	came := s.provider.Authorize(s.browser, address.String())
	for name, state := range map[string]string{"none": "", "another": auth.NewSignIn("").State, "alike": came.Query().Get("state")[:attemptPart] + "AAAA", "short": "A"} {
		if _, page := s.get(changed(came, func(q url.Values) { q.Set("state", state) }), http.StatusBadRequest); !strings.Contains(page, "begun in this browser") {
			t.Errorf("%s: %s", name, page)
		}
	}
	first := s.browser
	s.newBrowser() // somebody is sent another's address
	s.get(came.String(), http.StatusBadRequest)
	s.stranger()
	s.browser = first

	address, _ = s.leave("/")
	came = s.provider.Authorize(s.browser, changed(address, func(q url.Values) { q.Set("nonce", "another") }))
	s.get(came.String(), http.StatusUnauthorized)

	address, _ = s.leave("/")
	came = s.provider.Authorize(s.browser, changed(address, func(q url.Values) { q.Set("code_challenge", auth.NewSignIn("").Verifier) }))
	s.get(came.String(), http.StatusUnauthorized)

	address, _ = s.leave("/")
	came, _ = url.Parse(s.url + callbackPath + "?state=" + address.Query().Get("state"))
	s.get(came.String(), http.StatusBadRequest)
	s.stranger()
}

func TestTwoTabsSignIn(t *testing.T) {
	s := newSite(t, nil)
	first, _ := s.leave("/models/scorer")
	second, _ := s.leave("/jobs")
	for address, want := range map[*url.URL]string{first: "/models/scorer", second: "/jobs"} {
		if _, location := s.get(s.provider.Authorize(s.browser, address.String()).String(), http.StatusSeeOther); location != want {
			t.Errorf("sent to %s, not %s", location, want)
		}
	}
}

func TestTheProviderSaysNo(t *testing.T) {
	s := newSite(t, nil)
	for code, want := range map[string]string{"access_denied": "your account may not use this server", hostile: "let you in: "} {
		address, _ := s.leave("/models/scorer")
		_, page := s.get(s.url+callbackPath+"?"+url.Values{
			"state": {address.Query().Get("state")}, "error": {code}, "error_description": {hostile + strings.Repeat("ä", 1000)},
		}.Encode(), http.StatusUnauthorized)
		check(t, code, page)
		if !strings.Contains(page, want) || strings.Contains(page, strings.Repeat("ä", 400)) || strings.Contains(page, address.Query().Get("state")) || !strings.Contains(page, `to=%2Fmodels%2Fscorer`) {
			t.Errorf("%s: %s", code, page)
		}
	}
	// What nobody has asked for isn't shown.
	if _, page := s.get(s.url+callbackPath+"?error=x&error_description=send+money", http.StatusBadRequest); strings.Contains(page, "send money") {
		t.Error("a stranger's sentence is shown")
	}
	s.stranger()
}

// TestWhoTheAPIDoesNotTake: the provider knows somebody, the API doesn't.
func TestWhoTheAPIDoesNotTake(t *testing.T) {
	s := newSite(t, func(o *oidc.Options) { o.UsernameClaim = "email" })
	address, _ := s.leave("/")
	came := s.provider.Authorize(s.browser, address.String())
	if _, page := s.get(came.String(), http.StatusUnauthorized); !strings.Contains(page, "no claim email") {
		t.Errorf("%s", page)
	}
	s.stranger()
	s = newSite(t, func(o *oidc.Options) { o.ClientSecret = "wrong" })
	address, _ = s.leave("/")
	came = s.provider.Authorize(s.browser, address.String())
	if _, page := s.get(came.String(), http.StatusBadGateway); strings.Contains(page, "invalid_client") || !strings.Contains(page, "its log says why") {
		t.Errorf("%s", page)
	}
	s.stranger()
}

// TestForeignPaths: nobody is led elsewhere, or round and round.
func TestForeignPaths(t *testing.T) {
	s := newSite(t, nil)
	for _, to := range []string{"//evil.example/", "https://evil.example", `/\evil.example`, "/sign-in/callback?code=x", "/sign-in", "/" + strings.Repeat("x", 3000), "/?" + strings.Repeat("&", 700)} {
		address, _ := s.leave(to)
		if _, location := s.get(s.provider.Authorize(s.browser, address.String()).String(), http.StatusSeeOther); location != "/" {
			t.Errorf("%.40s: sent to %s", to, location)
		}
	}
}

// TestTheProviderIsAway: the page is there, says so, and takes tokens.
func TestTheProviderIsAway(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	people, err := oidc.New(oidc.Options{Issuer: gone.URL, Audience: "web"})
	if err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t, newProviderWeb(t, people, "http://127.0.0.1"))
	answer := b.get("/sign-in/provider?to=/models/scorer")
	page := answer.Body.String()
	if answer.Code != http.StatusServiceUnavailable || !strings.Contains(page, "answer now. Try again in a moment, or sign in with a token") || strings.Contains(page, "refused") {
		t.Errorf("%d %s", answer.Code, page)
	}
	check(t, "away", page)
	if len(b.cookies) != 1 {
		t.Errorf("an attempt is kept: %v", b.cookies)
	}
	if answer := b.post("/sign-in", "/sign-in", url.Values{"token": {"nonsense"}}); answer.Code != http.StatusUnauthorized {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
}

func TestAnAttemptEnds(t *testing.T) {
	people, err := oidc.New(oidc.Options{Issuer: "https://login.example.org", Audience: "web"})
	if err != nil {
		t.Fatal(err)
	}
	web := newProviderWeb(t, people, "https://models.example.org")
	b := newBrowser(t, web)
	for want, ends := range map[int]time.Time{http.StatusBadRequest: time.Now().Add(-time.Second), http.StatusUnauthorized: time.Now().Add(time.Minute)} {
		a := attempt{SignIn: auth.NewSignIn("https://models.example.org" + callbackPath), Ends: ends.Unix()}
		text, err := web.sealed(attemptCookie, a)
		if err != nil {
			t.Fatal(err)
		}
		b.cookies[attemptCookie+a.State[:attemptPart]] = text
		if answer := b.get(callbackPath + "?error=access_denied&state=" + a.State); answer.Code != want {
			t.Errorf("%d, not %d", answer.Code, want)
		}
		if b.cookies[attemptCookie+a.State[:attemptPart]] != "" {
			t.Error("the attempt is kept")
		}
	}
}

func TestWithoutAProvider(t *testing.T) {
	b := newBrowser(t, newWeb(t, hostileAPI(t)))
	for _, path := range []string{"/sign-in/provider", callbackPath + "?code=x&state=y"} {
		if answer := b.get(path); answer.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, answer.Code)
		}
	}
	people, err := oidc.New(oidc.Options{Issuer: "https://login.example.org", Audience: "web"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{API: hostileAPI(t), Key: key, Provider: people}); err == nil {
		t.Error("a provider without an address to come back to was taken")
	}
}

// TestCookiesAreSecureAtAPublicURLWithHTTPS, whatever is in front of it says.
func TestCookiesAreSecureAtAPublicURLWithHTTPS(t *testing.T) {
	for address, want := range map[string]bool{"https://example.com": true, "http://example.com": false, "https://another.example": false} {
		people := struct {
			Provider
			auth.Authenticator
		}{}
		web, err := New(Config{API: hostileAPI(t), Key: key, Provider: people, PublicURL: address})
		if err != nil {
			t.Fatal(err)
		}
		for _, cookie := range newBrowser(t, web).get("/").Result().Cookies() {
			if cookie.Secure != want {
				t.Errorf("%s: %+v", address, cookie)
			}
		}
	}
}
