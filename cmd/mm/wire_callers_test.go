package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/server"
)

func TestPeopleOfAProvider(t *testing.T) {
	if _, err := (&clusterOptions{oidcIssuer: "https://login.example.org", oidcAudience: "mm"}).people(); err != nil {
		t.Error(err)
	}
	for _, o := range []clusterOptions{
		{oidcIssuer: "login.example.org", oidcAudience: "mm"}, {oidcIssuer: "http://login.example.org", oidcAudience: "mm"}, {oidcIssuer: "https://login.example.org"},
	} {
		if _, err := o.people(); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
			t.Errorf("%+v: %v", o, err)
		}
	}
	absent := clusterOptions{oidcIssuer: "https://login.example.org", oidcAudience: "mm", oidcCA: filepath.Join(t.TempDir(), "ca.crt")}
	if _, err := absent.people(); err == nil || !strings.Contains(err.Error(), "--oidc-ca-file") {
		t.Errorf("%v", err)
	}
}

func TestTheClientsSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	o := &clusterOptions{oidcIssuer: "https://login.example.org", oidcAudience: "mm", oidcSecret: file}
	if _, err := o.people(); err == nil || !strings.Contains(err.Error(), "--oidc-client-secret-file") {
		t.Errorf("%v", err)
	}
	for text, want := range map[string]modelmanager.Code{"s3cret\n": "", "\n": modelmanager.CodeBadRequest} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		people, err := o.people()
		if modelmanager.CodeOf(err) != want || err == nil && people.ClientSecret != "s3cret" {
			t.Errorf("%q: %+v, %v", text, people, err)
		}
	}
}

func TestWherePeopleSignIn(t *testing.T) {
	for address, want := range map[string]string{
		"": "", "https://models.example.org": "https://models.example.org", "https://Models.example.org:8443/": "https://Models.example.org:8443",
	} {
		o := &clusterOptions{publicURL: address, oidcIssuer: "https://login.example.org", oidcAudience: "mm"}
		people, err := o.people()
		if err != nil {
			t.Fatal(err)
		}
		var config server.Config
		if err := o.page(&config, people); err != nil || config.PublicURL != want || (config.Provider != nil) != (want != "") {
			t.Errorf("%s: %+v, %v", address, config, err)
		}
		if want != "" && !slices.Equal(config.Hosts, []string{"models.example.org"}) {
			t.Errorf("%s: it answers to %v", address, config.Hosts)
		}
	}
	var config server.Config
	if err := (&clusterOptions{publicURL: "https://models.example.org"}).page(&config, nil); err != nil || config.Provider != nil {
		t.Errorf("without a provider: %+v, %v", config.Provider, err)
	}
	for _, address := range []string{"models.example.org", "ftp://models.example.org", "https://models.example.org/page", "https://models.example.org?a=b", "https://a@models.example.org", "https://"} {
		if err := (&clusterOptions{publicURL: address}).page(&config, nil); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
			t.Errorf("%s: %v", address, err)
		}
	}
}
