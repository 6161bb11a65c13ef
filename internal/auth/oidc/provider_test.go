package oidc_test

import (
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/auth/oidc"
	"modelmanager.dev/test/oidcprovider"
)

// TestARealProvider takes tokens that somebody got by logging in to a server
// that isn't ours.
func TestARealProvider(t *testing.T) {
	server := oidcprovider.Start(t)
	p, err := oidc.New(oidc.Options{Issuer: server.Issuer, Audience: oidcprovider.ClientID, UsernamePrefix: "people:"})
	if err != nil {
		t.Fatal(err)
	}
	token := server.Login()
	if who := code(t, p, token, ""); who.Name != "people:"+oidcprovider.User {
		t.Errorf("%+v", who)
	}
	other, err := oidc.New(oidc.Options{Issuer: server.Issuer, Audience: "another"})
	if err != nil {
		t.Fatal(err)
	}
	code(t, other, token, modelmanager.CodeUnauthenticated)
	again := oidcprovider.Start(t) // of the same make, with other keys
	stranger, err := oidc.New(oidc.Options{Issuer: again.Issuer, Audience: oidcprovider.ClientID})
	if err != nil {
		t.Fatal(err)
	}
	code(t, stranger, token, modelmanager.CodeUnauthenticated)
}
