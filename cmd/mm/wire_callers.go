package main

import (
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/auth"
	authkube "modelmanager.dev/internal/auth/kube"
	authoidc "modelmanager.dev/internal/auth/oidc"
	"modelmanager.dev/internal/server"
)

// callers knows who calls and what each may do: the cluster's own accounts,
// and people of an OpenID provider, by rights that RBAC has.
func (o *clusterOptions) callers(rights *authkube.Cluster, people *authoidc.Provider, logger *slog.Logger) *auth.Auth {
	issuers := map[string]auth.Authenticator{}
	if people != nil {
		issuers[o.oidcIssuer] = people
	}
	return auth.New(auth.Options{Authenticator: auth.ByIssuer(rights, issuers), Authorizer: rights, Logger: logger})
}

// people knows those who log in to --oidc-issuer; nil: there is none.
func (o *clusterOptions) people() (*authoidc.Provider, error) {
	if o.oidcIssuer == "" {
		return nil, nil
	}
	options := authoidc.Options{
		Issuer: o.oidcIssuer, Audience: o.oidcAudience,
		UsernameClaim: o.oidcName, UsernamePrefix: o.oidcNamePrefix, GroupsClaim: o.oidcGroups, GroupsPrefix: o.oidcGroupsPrefix,
		DisplayName: o.oidcTitle, Scopes: o.oidcScopes,
	}
	if o.oidcCA != "" {
		var err error
		if options.CA, err = os.ReadFile(o.oidcCA); err != nil {
			return nil, fmt.Errorf("reading --oidc-ca-file: %w", err)
		}
	}
	if o.oidcSecret != "" {
		secret, err := os.ReadFile(o.oidcSecret)
		if err != nil {
			return nil, fmt.Errorf("reading --oidc-client-secret-file: %w", err)
		}
		if options.ClientSecret = strings.TrimSpace(string(secret)); options.ClientSecret == "" {
			return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "--oidc-client-secret-file: %s is empty", o.oidcSecret)
		}
	}
	return authoidc.New(options)
}

// page adds where people sign in to the page, if they do: at --public-url,
// whose name is then one of the server's own.
func (o *clusterOptions) page(config *server.Config, people *authoidc.Provider) error {
	if o.publicURL == "" {
		return nil
	}
	address, err := url.Parse(o.publicURL)
	if err != nil || address.Host == "" || address.Scheme != "https" && address.Scheme != "http" ||
		strings.Trim(address.Path, "/") != "" || address.RawQuery != "" || address.Fragment != "" || address.User != nil {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "--public-url is %q; write an address without a path, such as https://models.example.org", o.publicURL)
	}
	config.PublicURL = address.Scheme + "://" + address.Host
	config.Hosts = append(slices.Clone(config.Hosts), strings.ToLower(address.Hostname()))
	if people != nil { // an interface with a nil in it isn't nil
		config.Provider = people
	}
	return nil
}
