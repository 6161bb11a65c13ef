package api

import (
	"net"
	"net/http"
	"slices"
	"strings"

	"modelmanager.dev"
)

var crossOrigin = http.NewCrossOriginProtection()

// Guard is guard for the pages, which share the API's listener.
func (a *API) Guard(r *http.Request) error { return a.guard(r) }

// guard refuses requests that a browser was tricked into: those to a name that
// isn't the server's, and those that change something from another site's page.
//
// A request without a Host, HTTP/1.0, comes from no browser. The two health
// checks tell nobody anything, and are asked by address.
func (a *API) guard(r *http.Request) error {
	if r.Host != "" && !a.ownHost(r) && r.URL.Path != "/healthz" && r.URL.Path != "/readyz" {
		return modelmanager.Errorf(modelmanager.CodeForbidden,
			"this server doesn't answer to the name %q; start it with --host %s if it should", shortened(r.Host), shortened(hostname(r.Host)))
	}
	if err := crossOrigin.Check(r); err != nil {
		return modelmanager.Errorf(modelmanager.CodeForbidden, "a page of another site can't do this: %w", err)
	}
	if r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
		return modelmanager.Errorf(modelmanager.CodeForbidden, "a page of another site can't read this")
	}
	return nil
}

// ownHost tells whether a request is to the server itself: by a name of its, or
// by the very address that it was reached at, as Prometheus calls pods. No page
// gets there by a name that leads to that address.
func (a *API) ownHost(r *http.Request) bool {
	name := hostname(r.Host)
	if ip := net.ParseIP(strings.Trim(name, "[]")); ip != nil && (ip.IsLoopback() || ip.Equal(reached(r))) || name == "localhost" {
		return true
	}
	return slices.Contains(a.Hosts, name) || slices.Contains(a.Hosts, "*")
}

// reached is the server's side of the connection; nil if it isn't known.
func reached(r *http.Request) net.IP {
	if address, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return address.IP
	}
	return nil
}

func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
