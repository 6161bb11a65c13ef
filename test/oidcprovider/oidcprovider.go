// Package oidcprovider starts a real OpenID provider, for tests of those who
// take its tokens: the example server of zitadel/oidc, pinned by a module of
// its own in program/.
package oidcprovider

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"modelmanager.dev/test/module"
	"modelmanager.dev/test/needs"
)

// What the example server knows.
const (
	ClientID     = "web"
	ClientSecret = "secret"
	User         = "id1" // the subject of the tokens
	Second       = "id2" // somebody else's
	Password     = "verysecure"

	redirect = "http://localhost:9999/auth/callback"
)

// Username is what a person types to log in, beside Password.
func Username(subject string) string {
	return map[string]string{User: "test-user@localhost", Second: "test-user2"}[subject]
}

// Provider is a running provider.
type Provider struct {
	Issuer string
	t      testing.TB
	found  struct {
		Authorization string `json:"authorization_endpoint"`
		Token         string `json:"token_endpoint"`
	}
}

// Start starts a provider that ends with the test. It sends browsers back to
// the callbacks.
func Start(t testing.TB, callbacks ...string) *Provider {
	t.Helper()
	program, err := install()
	if err != nil {
		needs.Skip(t, err)
	}
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	listener.Close()
	command := exec.Command(program)
	command.Env = append(os.Environ(), "PORT="+port, "REDIRECT_URI="+strings.Join(append(callbacks, redirect), ","))
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	p := &Provider{Issuer: "http://localhost:" + port + "/", t: t}
	for end := time.After(20 * time.Second); ; {
		response, err := http.Get(p.Issuer + ".well-known/openid-configuration")
		if err == nil {
			err = json.NewDecoder(response.Body).Decode(&p.found)
			response.Body.Close()
		}
		if err == nil {
			return p
		}
		select {
		case <-end:
			t.Fatalf("the OpenID provider doesn't answer: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// install builds the provider, unless it is there.
func install() (string, error) {
	sources, err := module.Path("test", "oidcprovider", "program")
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(sources, name))
		if err != nil {
			return "", err
		}
		hash.Write(data)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	program := filepath.Join(cache, "model-manager", "oidcprovider-"+hex.EncodeToString(hash.Sum(nil))[:16])
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	build := exec.Command("go", "build", "-o", fmt.Sprintf("%s.%d", program, os.Getpid()), "github.com/zitadel/oidc/v3/example/server")
	build.Dir = sources
	build.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off", "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the OpenID provider: %w\n%s", err, output)
	}
	return program, os.Rename(build.Args[3], program)
}

// Login logs a person in, as a browser does, and returns the ID token.
func (p *Provider) Login() string {
	p.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	back := p.Authorize(browser, p.found.Authorization+"?"+url.Values{
		"client_id": {ClientID}, "redirect_uri": {redirect}, "response_type": {"code"}, "scope": {"openid email profile"}, "state": {"state"},
	}.Encode())
	request, err := http.NewRequest(http.MethodPost, p.found.Token, strings.NewReader(url.Values{
		"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "redirect_uri": {redirect},
	}.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(ClientID, ClientSecret)
	response, err := browser.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	var tokens struct {
		ID string `json:"id_token"`
	}
	if err != nil || json.Unmarshal(body, &tokens) != nil || tokens.ID == "" {
		p.t.Fatalf("logging in ended with %s: %s (%v)", response.Status, body, err)
	}
	return tokens.ID
}

// Authorize is what a person does where a client has sent the browser. It
// returns where the provider sends it back to. The browser follows nothing by
// itself.
func (p *Provider) Authorize(browser *http.Client, address string) *url.URL {
	p.t.Helper()
	login := p.follow(browser.Get(address))
	callback := p.follow(browser.PostForm(p.Issuer+"login/username", url.Values{
		"username": {Username(User)}, "password": {Password}, "id": {login.Query().Get("authRequestID")},
	}))
	return p.follow(browser.Get(callback.String()))
}

// follow returns where an answer leads.
func (p *Provider) follow(response *http.Response, err error) *url.URL {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	where, err := response.Location()
	if err != nil {
		body, _ := io.ReadAll(response.Body)
		p.t.Fatalf("%s %s leads nowhere: %s %s", response.Request.Method, response.Request.URL, response.Status, body)
	}
	return where
}
