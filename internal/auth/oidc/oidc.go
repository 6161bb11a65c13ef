// Package oidc knows people by ID tokens of an OpenID provider, as Kubernetes'
// own API server does; what they may do is RBAC's to say.
package oidc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"modelmanager.dev"
	"modelmanager.dev/internal/auth"
)

// Options are all that a Provider is told.
type Options struct {
	Issuer   string // https://login.example.org, as tokens name it
	Audience string // of tokens: the client's id

	UsernameClaim  string // default sub
	UsernamePrefix string // default: the issuer and #, but none of emails; "-" is none
	GroupsClaim    string // "": people have no groups
	GroupsPrefix   string

	CA []byte // PEM: who may vouch for the issuer's address; nil: the system's

	// Where people sign in with a browser:
	DisplayName  string   // of the provider; default: the issuer's host
	ClientSecret string   // "": the client has none
	Scopes       []string // to ask for beside openid, email and profile
}

// Provider is an auth.Authenticator for the tokens of one issuer, and gets them
// for people with a browser. It asks the issuer when it needs to: a server
// starts, and knows whom it knew before, while the issuer is away.
type Provider struct {
	Options
	client   *http.Client // for keys
	redeemer *http.Client // for codes

	mu    sync.Mutex
	found *discovered // nil: not discovered yet
	again time.Time   // when discovery may be tried again
}

// discovered is what an issuer says of itself.
type discovered struct {
	keys     oidc.KeySet
	endpoint oauth2.Endpoint // addresses that aren't safe are left out
	methods  []string        // by which clients prove who they are
}

// algorithms are those by which a token may be signed: no secret that we would
// have to know, and never none.
var algorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA,
}

const (
	requestTimeout = 4 * time.Second
	discoverAgain  = 5 * time.Second
)

// New makes a Provider; it doesn't ask the issuer yet.
func New(options Options) (*Provider, error) {
	bad := func(format string, args ...any) error {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "the OpenID provider: "+format, args...)
	}
	issuer, err := url.Parse(options.Issuer)
	switch {
	case err != nil || issuer.Host == "":
		return nil, bad("%q is not an issuer's address; it looks like https://login.example.org", options.Issuer)
	case issuer.Scheme != "https" && !(issuer.Scheme == "http" && loopback(issuer.Hostname())):
		return nil, bad("the issuer %s isn't reached by https: anybody between could name whomever they like", options.Issuer)
	case options.Audience == "":
		return nil, bad("there is no audience; it is the id of the client that people log in to")
	}
	if options.UsernameClaim == "" {
		options.UsernameClaim = "sub"
	}
	switch {
	case options.UsernamePrefix == "-":
		options.UsernamePrefix = ""
	case options.UsernamePrefix == "" && options.UsernameClaim != "email":
		options.UsernamePrefix = options.Issuer + "#"
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if options.CA != nil {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(options.CA) {
			return nil, bad("there is no certificate in the CA's file")
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &Provider{
		Options: options, client: &http.Client{Transport: newCareful(transport), Timeout: requestTimeout}, redeemer: newRedeemer(transport),
	}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Authenticate implements auth.Authenticator.
func (p *Provider) Authenticate(ctx context.Context, token string) (auth.Identity, error) {
	var none auth.Identity
	// What the token says of itself decides first: nobody's token makes us ask
	// the issuer for keys.
	claims, ok := auth.ReadClaims(token)
	switch {
	case !ok || claims.Issuer != p.Issuer:
		return none, refused("it isn't one of %s", p.Issuer)
	case !slices.Contains(claims.Audience, p.Audience):
		return none, refused("it is for %.200q, not for %s", claims.Audience, p.Audience)
	case claims.Expires.IsZero() || !time.Now().Before(claims.Expires):
		return none, refused("it has expired; log in again")
	}
	verified, err := p.verify(ctx, token)
	if err != nil {
		return none, err
	}
	return p.identity(verified)
}

// verify checks who signed a token, for whom, and until when.
func (p *Provider) verify(ctx context.Context, token string) (*oidc.IDToken, error) {
	found, err := p.discover(ctx)
	if err != nil {
		return nil, err
	}
	attempt := &attempt{keys: found.keys}
	verifier := oidc.NewVerifier(p.Issuer, attempt, &oidc.Config{ClientID: p.Audience, SupportedSigningAlgs: algorithms})
	verified, err := verifier.Verify(ctx, token)
	switch {
	case attempt.err != nil && (errors.Is(attempt.err, errAway) || ctx.Err() != nil):
		return nil, p.away(attempt.err)
	case err != nil:
		return nil, refused("it isn't signed by %s, or not valid now", p.Issuer)
	}
	return verified, nil
}

func refused(format string, args ...any) error {
	return modelmanager.Errorf(modelmanager.CodeUnauthenticated, "the token is not taken: "+format, args...)
}

func (p *Provider) away(err error) error {
	return modelmanager.Errorf(modelmanager.CodeUnavailable, "the OpenID provider %s can't be asked now: %w", p.Issuer, err)
}

// discover finds where the issuer's keys are, and where people sign in.
func (p *Provider) discover(ctx context.Context) (*discovered, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil {
		return p.found, nil
	}
	if time.Now().Before(p.again) {
		return nil, p.away(errAway)
	}
	// Who asked first may leave; the answer is everybody's.
	provider, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.client), p.Issuer)
	var said struct {
		Keys    string   `json:"jwks_uri"`
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err == nil {
		err = provider.Claims(&said)
	}
	if err == nil && !p.safe(said.Keys) {
		err = errors.New("its keys aren't reached by https")
	}
	if err != nil {
		p.again = time.Now().Add(discoverAgain)
		return nil, p.away(err)
	}
	found := &discovered{
		keys:    oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), p.client), said.Keys),
		methods: said.Methods,
	}
	if endpoint := provider.Endpoint(); p.safe(endpoint.AuthURL) && p.safe(endpoint.TokenURL) {
		found.endpoint = endpoint
	}
	p.found = found
	return found, nil
}

// safe tells whether nobody can stand between us and an address that the
// issuer names: it has https, or the issuer is on this machine.
func (p *Provider) safe(address string) bool {
	return strings.HasPrefix(address, "https://") || strings.HasPrefix(p.Issuer, "http://")
}

// attempt remembers why a signature couldn't be verified.
type attempt struct {
	keys oidc.KeySet
	err  error
}

// VerifySignature implements oidc.KeySet.
func (a *attempt) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	payload, err := a.keys.VerifySignature(ctx, token)
	a.err = err
	return payload, err
}

// reserved begins the names that Kubernetes gives itself. A provider may name
// nobody so: system:masters may do everything.
const reserved = "system:"

// identity reads who it is from a token that is verified.
func (p *Provider) identity(token *oidc.IDToken) (auth.Identity, error) {
	var none auth.Identity
	var claims map[string]json.RawMessage
	if err := token.Claims(&claims); err != nil {
		return none, refused("its claims can't be read")
	}
	var name string
	if err := json.Unmarshal(claims[p.UsernameClaim], &name); err != nil || name == "" {
		return none, refused("it has no claim %s, which is the user's name", p.UsernameClaim)
	}
	if verified, said := claims["email_verified"]; p.UsernameClaim == "email" && said && string(verified) != "true" {
		return none, refused("its email isn't verified")
	}
	who := auth.Identity{Name: p.UsernamePrefix + name, Expires: token.Expiry}
	if strings.HasPrefix(who.Name, reserved) {
		return none, refused("names that begin with %s are the cluster's own", reserved)
	}
	groups, err := p.groups(claims[p.GroupsClaim])
	if err != nil {
		return none, err
	}
	who.Groups = append(groups, "system:authenticated")
	return who, nil
}

// groups reads one group, or a list of them.
func (p *Provider) groups(claim json.RawMessage) ([]string, error) {
	if p.GroupsClaim == "" || claim == nil || string(claim) == "null" {
		return nil, nil
	}
	var names []string
	var one string
	if json.Unmarshal(claim, &one) == nil {
		names = []string{one}
	} else if json.Unmarshal(claim, &names) != nil {
		return nil, refused("its claim %s is no list of groups", p.GroupsClaim)
	}
	var groups []string
	for _, name := range names {
		if name = p.GroupsPrefix + name; name != "" && !strings.HasPrefix(name, reserved) {
			groups = append(groups, name)
		}
	}
	return groups, nil
}
