package oidc

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"modelmanager.dev"
	"modelmanager.dev/internal/auth"
)

// defaultScopes are what people's tokens have to say; more may be asked for.
var defaultScopes = []string{oidc.ScopeOpenID, "email", "profile"}

// newRedeemer makes the client for codes. The answers, unlike those with keys,
// have a meaning when they aren't 200; and a code goes to nobody who is only
// pointed to.
func newRedeemer(transport http.RoundTripper) *http.Client {
	return &http.Client{Transport: transport, Timeout: requestTimeout, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// Name is what people know the provider by.
func (p *Provider) Name() string {
	if p.DisplayName != "" {
		return p.DisplayName
	}
	issuer, err := url.Parse(p.Issuer)
	if err != nil { // New has parsed it
		return p.Issuer
	}
	return issuer.Host
}

// SignIn returns where a browser goes to sign in.
func (p *Provider) SignIn(ctx context.Context, attempt auth.SignIn) (string, error) {
	found, err := p.discover(ctx)
	if err != nil {
		return "", err
	}
	config, err := p.config(found, attempt)
	if err != nil {
		return "", err
	}
	return config.AuthCodeURL(attempt.State, oidc.Nonce(attempt.Nonce), oauth2.S256ChallengeOption(attempt.Verifier)), nil
}

// Redeem gets the token for the code that a browser came back with, and says
// when it ends. The token is one that Authenticate takes.
func (p *Provider) Redeem(ctx context.Context, attempt auth.SignIn, code string) (string, time.Time, error) {
	var never time.Time
	found, err := p.discover(ctx)
	if err != nil {
		return "", never, err
	}
	config, err := p.config(found, attempt)
	if err != nil {
		return "", never, err
	}
	answer, err := config.Exchange(oidc.ClientContext(ctx, p.redeemer), code, oauth2.VerifierOption(attempt.Verifier))
	if err != nil {
		return "", never, p.notRedeemed(err)
	}
	token, ok := answer.Extra("id_token").(string)
	if !ok {
		return "", never, modelmanager.Errorf(modelmanager.CodeInternal, "the OpenID provider %s answered a code without an ID token", p.Issuer)
	}
	verified, err := p.verify(ctx, token)
	if err != nil {
		return "", never, err
	}
	if attempt.Nonce == "" || subtle.ConstantTimeCompare([]byte(verified.Nonce), []byte(attempt.Nonce)) != 1 {
		return "", never, refused("it is of another sign-in")
	}
	if _, err := p.identity(verified); err != nil {
		return "", never, err
	}
	return token, verified.Expiry, nil
}

// config is what we are as the provider's client.
func (p *Provider) config(found *discovered, attempt auth.SignIn) (*oauth2.Config, error) {
	endpoint := found.endpoint
	if endpoint.AuthURL == "" || endpoint.TokenURL == "" {
		return nil, modelmanager.Errorf(modelmanager.CodeInternal, "the OpenID provider %s doesn't say, by https, where people sign in and where codes are redeemed", p.Issuer)
	}
	// Never tried out: a provider may take a code once only.
	endpoint.AuthStyle = oauth2.AuthStyleInParams
	if p.ClientSecret != "" && (len(found.methods) == 0 || slices.Contains(found.methods, "client_secret_basic")) {
		endpoint.AuthStyle = oauth2.AuthStyleInHeader
	}
	scopes := slices.Concat(defaultScopes, p.Scopes)
	return &oauth2.Config{ClientID: p.Audience, ClientSecret: p.ClientSecret, Endpoint: endpoint, RedirectURL: attempt.Back, Scopes: scopes}, nil
}

// notRedeemed says why a code brought no token.
func (p *Provider) notRedeemed(err error) error {
	var answer *oauth2.RetrieveError
	switch {
	case !errors.As(err, &answer) || answer.Response != nil && answer.Response.StatusCode >= http.StatusInternalServerError:
		return p.away(err)
	case answer.ErrorCode == "invalid_grant":
		return modelmanager.Errorf(modelmanager.CodeUnauthenticated, "the sign-in isn't valid any more: its code was used, or took too long; sign in again")
	}
	status := ""
	if answer.Response != nil {
		status = answer.Response.Status
	}
	return modelmanager.Errorf(modelmanager.CodeInternal,
		"the OpenID provider %s doesn't take this server as the client %s: %.200s; look at --oidc-client-id, --oidc-client-secret-file and what is registered there",
		p.Issuer, p.Audience, cmp.Or(answer.ErrorCode, status))
}
