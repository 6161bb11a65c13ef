package oidc_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"modelmanager.dev"
	"modelmanager.dev/internal/auth"
	"modelmanager.dev/internal/auth/oidc"
)

// issuer is an OpenID provider, as far as an API needs one: discovery, keys,
// and tokens that it signs.
type issuer struct {
	t      *testing.T
	server *httptest.Server

	mu    sync.Mutex
	keys  map[string]crypto.Signer // by id
	away  bool
	asked map[string]int

	redeem http.HandlerFunc // takes codes; nil: it knows no such thing
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{t: t, keys: map[string]crypto.Signer{}, asked: map[string]int{}}
	i.server = httptest.NewTLSServer(i)
	t.Cleanup(i.server.Close)
	i.newKey("first")
	return i
}

func (i *issuer) newKey(id string) {
	i.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		i.t.Fatal(err)
	}
	i.set(func() { i.keys[id] = key })
}

func (i *issuer) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

func (i *issuer) asks(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked[path]
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked[r.URL.Path]++
	if i.away {
		http.Error(w, "away", http.StatusBadGateway)
		return
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		said := map[string]any{
			"issuer": i.server.URL, "jwks_uri": i.server.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"},
		}
		if i.redeem != nil {
			said["authorization_endpoint"], said["token_endpoint"] = i.server.URL+"/authorize", i.server.URL+"/token"
		}
		_ = json.NewEncoder(w).Encode(said)
	case "/token":
		i.redeem(w, r)
	case "/keys":
		set := jose.JSONWebKeySet{}
		for id, key := range i.keys {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Public(), KeyID: id, Use: "sig"})
		}
		_ = json.NewEncoder(w).Encode(set)
	default:
		http.NotFound(w, r)
	}
}

// claims are those of a good token, with some changed; nil takes one away.
func (i *issuer) claims(change map[string]any) map[string]any {
	claims := map[string]any{
		"iss": i.server.URL, "aud": "modelmanager", "sub": "4711", "email": "ann@example.org", "groups": []string{"analysts", "system:masters"},
		"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
	}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	return claims
}

// sign makes a token.
func sign(t *testing.T, algorithm jose.SignatureAlgorithm, id string, key any, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(data)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (i *issuer) token(id string, change map[string]any) string {
	i.t.Helper()
	i.mu.Lock()
	key := i.keys[id]
	i.mu.Unlock()
	return sign(i.t, jose.RS256, id, key, i.claims(change))
}

func (i *issuer) provider(change func(*oidc.Options)) *oidc.Provider {
	i.t.Helper()
	options := oidc.Options{
		Issuer: i.server.URL, Audience: "modelmanager", GroupsClaim: "groups",
		CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.server.Certificate().Raw}),
	}
	if change != nil {
		change(&options)
	}
	p, err := oidc.New(options)
	if err != nil {
		i.t.Fatal(err)
	}
	return p
}

func code(t *testing.T, p *oidc.Provider, token string, want modelmanager.Code) auth.Identity {
	t.Helper()
	who, err := p.Authenticate(t.Context(), token)
	if modelmanager.CodeOf(err) != want {
		t.Errorf("%+v, %v (%s); want %q", who, err, modelmanager.CodeOf(err), want)
	}
	return who
}

func TestWhoSomebodyIs(t *testing.T) {
	i := newIssuer(t)
	for name, c := range map[string]struct {
		options func(*oidc.Options)
		claims  map[string]any
		want    string
		groups  []string
	}{
		"as it is":      {nil, nil, i.server.URL + "#4711", []string{"analysts"}},
		"by email":      {func(o *oidc.Options) { o.UsernameClaim = "email" }, nil, "ann@example.org", []string{"analysts"}},
		"verified":      {func(o *oidc.Options) { o.UsernameClaim = "email" }, map[string]any{"email_verified": true}, "ann@example.org", []string{"analysts"}},
		"with prefixes": {func(o *oidc.Options) { o.UsernamePrefix, o.GroupsPrefix = "oidc:", "oidc:" }, nil, "oidc:4711", []string{"oidc:analysts", "oidc:system:masters"}},
		"no prefix":     {func(o *oidc.Options) { o.UsernamePrefix = "-" }, nil, "4711", []string{"analysts"}},
		"no groups":     {func(o *oidc.Options) { o.GroupsClaim = "" }, nil, i.server.URL + "#4711", nil},
		"without any":   {nil, map[string]any{"groups": nil}, i.server.URL + "#4711", nil},
		"one group":     {nil, map[string]any{"groups": "analysts"}, i.server.URL + "#4711", []string{"analysts"}},
		"two audiences": {nil, map[string]any{"aud": []string{"another", "modelmanager"}}, i.server.URL + "#4711", []string{"analysts"}},
	} {
		t.Run(name, func(t *testing.T) {
			who := code(t, i.provider(c.options), i.token("first", c.claims), "")
			if want := append(slices.Clone(c.groups), "system:authenticated"); who.Name != c.want || !slices.Equal(who.Groups, want) || time.Until(who.Expires) < 50*time.Minute {
				t.Errorf("%+v", who)
			}
		})
	}
}

func TestTokensThatAreNotTaken(t *testing.T) {
	i, stranger := newIssuer(t), newIssuer(t)
	elliptical, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(i.keys["first"].Public())
	if err != nil {
		t.Fatal(err)
	}
	good := strings.Split(i.token("first", nil), ".")
	other := strings.Split(i.token("first", map[string]any{"sub": "root"}), ".")
	header := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	// Each has a provider of its own: one asks its issuer for keys so often at most.
	strict := func() *oidc.Provider { return i.provider(func(o *oidc.Options) { o.UsernameClaim = "email" }) }
	for name, token := range map[string]string{
		"none":                     "",
		"nonsense":                 "nonsense",
		"expired":                  i.token("first", map[string]any{"exp": time.Now().Add(-time.Second).Unix()}),
		"for ever":                 i.token("first", map[string]any{"exp": nil}),
		"not yet":                  i.token("first", map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}),
		"for another":              i.token("first", map[string]any{"aud": "another"}),
		"for nobody":               i.token("first", map[string]any{"aud": nil}),
		"of another issuer":        stranger.token("first", nil),
		"that claims to be his":    stranger.token("first", map[string]any{"iss": i.server.URL}),
		"without a name":           i.token("first", map[string]any{"email": nil}),
		"name of another type":     i.token("first", map[string]any{"email": 1}),
		"an email unverified":      i.token("first", map[string]any{"email_verified": false}),
		"the cluster's own":        i.token("first", map[string]any{"email": "system:admin"}),
		"groups of another kind":   i.token("first", map[string]any{"groups": map[string]any{"a": 1}}),
		"algorithm none":           header(`{"alg": "none"}`) + "." + good[1] + ".",
		"none, with a key":         header(`{"alg": "none", "kid": "first"}`) + "." + good[1] + "." + good[2],
		"the public key as secret": sign(t, jose.HS256, "first", public, i.claims(nil)),
		"a key of its own":         sign(t, jose.ES256, "first", elliptical, i.claims(nil)),
		"somebody's signature":     good[0] + "." + other[1] + "." + good[2],
		"no signature":             good[0] + "." + good[1] + ".",
	} {
		t.Run(name, func(t *testing.T) { code(t, strict(), token, modelmanager.CodeUnauthenticated) })
	}
	code(t, strict(), i.token("first", nil), "")
}

func TestKeysRotate(t *testing.T) {
	i := newIssuer(t)
	p := i.provider(nil)
	first := i.token("first", nil)
	for range 10 {
		code(t, p, first, "")
	}
	if n := i.asks("/keys"); n != 1 {
		t.Errorf("asked for keys %d times", n)
	}
	i.newKey("second")
	code(t, p, i.token("second", nil), "")
	i.set(func() { delete(i.keys, "first") })
	i.newKey("third")
	code(t, p, i.token("third", nil), "")
	// New keys serve whoever waits for them a moment before they replace the old ones.
	var err error
	for deadline := time.Now().Add(10 * time.Second); err == nil && time.Now().Before(deadline); runtime.Gosched() {
		_, err = p.Authenticate(t.Context(), first)
	}
	if modelmanager.CodeOf(err) != modelmanager.CodeUnauthenticated {
		t.Errorf("%v; want %q", err, modelmanager.CodeUnauthenticated)
	}
}

func TestTheIssuerIsAway(t *testing.T) {
	i := newIssuer(t)
	token := i.token("first", nil)
	p, late := i.provider(nil), i.provider(nil)
	code(t, p, token, "")
	i.newKey("second")
	i.set(func() { i.away = true })
	code(t, p, token, "") // its keys are known
	code(t, p, i.token("second", nil), modelmanager.CodeUnavailable)
	code(t, late, token, modelmanager.CodeUnavailable)
	code(t, late, i.token("first", map[string]any{"aud": "another"}), modelmanager.CodeUnauthenticated) // as it says itself
	i.set(func() { i.away = false })
	code(t, p, i.token("second", nil), "")
	code(t, i.provider(nil), token, "")
}

// TestAFloodOfMadeUpKeys doesn't become one of questions to the issuer.
func TestAFloodOfMadeUpKeys(t *testing.T) {
	i, stranger := newIssuer(t), newIssuer(t)
	p := i.provider(nil)
	code(t, p, i.token("first", nil), "")
	for range 50 {
		if _, err := p.Authenticate(t.Context(), stranger.token("first", map[string]any{"iss": i.server.URL})); err == nil {
			t.Fatal("taken")
		}
	}
	if n := i.asks("/keys"); n > 10 {
		t.Errorf("asked for keys %d times", n)
	}
	code(t, p, i.token("first", nil), "")
}

func TestOptionsThatCannotBe(t *testing.T) {
	for _, o := range []oidc.Options{
		{}, {Issuer: "login.example.org", Audience: "a"}, {Issuer: "http://login.example.org", Audience: "a"},
		{Issuer: "https://login.example.org"}, {Issuer: "https://login.example.org", Audience: "a", CA: []byte("none")},
	} {
		if _, err := oidc.New(o); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// TestBesideTheCluster: both kinds of token, each known by its issuer.
func TestBesideTheCluster(t *testing.T) {
	i := newIssuer(t)
	chain := auth.ByIssuer(cluster{}, map[string]auth.Authenticator{i.server.URL: i.provider(nil)})
	for token, want := range map[string]string{i.token("first", nil): i.server.URL + "#4711", "a-token-of-the-cluster": "robot"} {
		if who, err := chain.Authenticate(t.Context(), token); err != nil || who.Name != want {
			t.Errorf("%+v %v", who, err)
		}
	}
}

// cluster knows any token, as one of its own.
type cluster struct{}

func (cluster) Authenticate(context.Context, string) (auth.Identity, error) {
	return auth.Identity{Name: "robot"}, nil
}
