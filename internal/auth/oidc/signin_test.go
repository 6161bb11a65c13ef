package oidc_test

import (
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/auth"
	"modelmanager.dev/internal/auth/oidc"
	"modelmanager.dev/test/oidcprovider"
)

const back = "http://127.0.0.1:9/sign-in/callback"

// signIn signs somebody in at a real provider, and returns the code. change
// changes the address that the browser is sent to.
func signIn(t *testing.T, server *oidcprovider.Provider, p *oidc.Provider, attempt auth.SignIn, change func(url.Values)) string {
	t.Helper()
	text, err := p.SignIn(t.Context(), attempt)
	if err != nil {
		t.Fatal(err)
	}
	address, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	query := address.Query()
	if query.Get("code_challenge_method") != "S256" || query.Get("code_challenge") == "" || strings.Contains(text, attempt.Verifier) {
		t.Errorf("sent to %s", text)
	}
	if change != nil {
		change(query)
	}
	address.RawQuery = query.Encode()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	came := server.Authorize(browser, address.String())
	if !strings.HasPrefix(came.String(), attempt.Back) || came.Query().Get("state") != attempt.State {
		t.Fatalf("sent back to %s", came)
	}
	return came.Query().Get("code")
}

func TestSigningInAtARealProvider(t *testing.T) {
	server := oidcprovider.Start(t, back)
	newProvider := func(secret string) *oidc.Provider {
		p, err := oidc.New(oidc.Options{Issuer: server.Issuer, Audience: oidcprovider.ClientID, ClientSecret: secret})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := newProvider(oidcprovider.ClientSecret)
	if !strings.HasPrefix(p.Name(), "localhost:") {
		t.Errorf("it is called %q", p.Name())
	}
	redeem := func(p *oidc.Provider, attempt auth.SignIn, code string, want modelmanager.Code) string {
		t.Helper()
		token, ends, err := p.Redeem(t.Context(), attempt, code)
		if modelmanager.CodeOf(err) != want || err == nil && time.Until(ends) < 50*time.Minute || err != nil && token != "" {
			t.Errorf("%v, until %s; want %q", err, ends, want)
		}
		return token
	}
	good := auth.NewSignIn(back)
	grant := signIn(t, server, p, good, nil)
	if who := code(t, p, redeem(p, good, grant, ""), ""); who.Name != server.Issuer+"#"+oidcprovider.User {
		t.Errorf("%+v", who)
	}
	redeem(p, good, grant, modelmanager.CodeUnauthenticated) // the code has been used
	redeem(p, good, "made-up", modelmanager.CodeUnauthenticated)

	another := auth.NewSignIn(back)
	redeem(p, another, signIn(t, server, p, another, func(q url.Values) { q.Set("nonce", "another") }), modelmanager.CodeUnauthenticated)
	redeem(p, another, signIn(t, server, p, another, func(q url.Values) { q.Del("nonce") }), modelmanager.CodeUnauthenticated)

	stolen := auth.NewSignIn(back)
	grant = signIn(t, server, p, stolen, nil)
	stolen.Verifier = auth.NewSignIn(back).Verifier
	redeem(p, stolen, grant, modelmanager.CodeUnauthenticated)

	wrong := newProvider("wrong")
	redeem(wrong, good, signIn(t, server, wrong, good, nil), modelmanager.CodeInternal)
}

// TestSigningInWhileTheIssuerIsAway: it is found again by itself.
func TestSigningInWhileTheIssuerIsAway(t *testing.T) {
	i := newIssuer(t)
	i.set(func() { i.away = true })
	p := i.provider(func(o *oidc.Options) { o.DisplayName = "Example" })
	if p.Name() != "Example" {
		t.Errorf("it is called %q", p.Name())
	}
	if _, err := p.SignIn(t.Context(), auth.NewSignIn(back)); modelmanager.CodeOf(err) != modelmanager.CodeUnavailable {
		t.Errorf("%v", err)
	}
	if _, _, err := p.Redeem(t.Context(), auth.NewSignIn(back), "code"); modelmanager.CodeOf(err) != modelmanager.CodeUnavailable {
		t.Errorf("%v", err)
	}
	i.set(func() { i.away = false })
	// It says nothing of where people sign in.
	if _, err := i.provider(nil).SignIn(t.Context(), auth.NewSignIn(back)); modelmanager.CodeOf(err) != modelmanager.CodeInternal {
		t.Errorf("%v", err)
	}
}

// TestACodeIsSentNowhereElse: an issuer that points elsewhere isn't followed,
// and one that fails is away.
func TestACodeIsSentNowhereElse(t *testing.T) {
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the code went elsewhere") }))
	defer elsewhere.Close()
	for status, want := range map[int]modelmanager.Code{
		http.StatusTemporaryRedirect: modelmanager.CodeInternal, http.StatusBadGateway: modelmanager.CodeUnavailable,
	} {
		i := newIssuer(t)
		i.set(func() {
			i.redeem = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, elsewhere.URL, status)
			}
		})
		if _, _, err := i.provider(nil).Redeem(t.Context(), auth.NewSignIn(back), "code"); modelmanager.CodeOf(err) != want {
			t.Errorf("%d: %v", status, err)
		}
	}
}
