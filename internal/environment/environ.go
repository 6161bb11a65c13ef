package environment

import (
	"os"
	"slices"
	"strings"
)

// Environ are the variables of this process that compilers and package managers
// need. They run code of models and of packages, so they see no others, which may
// hold tokens.
func Environ() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return !slices.Contains(passedOn[:], name) &&
			!slices.ContainsFunc(passedOnAll[:], func(prefix string) bool { return strings.HasPrefix(name, prefix) })
	})
}

var passedOn = [...]string{
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
	"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "GIT_SSH_COMMAND", "SSH_AUTH_SOCK",
	"CC", "CXX", "FC", "CFLAGS", "CXXFLAGS", "FFLAGS", "CPPFLAGS", "LDFLAGS", "MAKEFLAGS", "PKG_CONFIG_PATH",
	"JAVA_HOME", "MAVEN_OPTS", "GOPATH", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOFLAGS", "GOTOOLCHAIN", "CARGO_HOME", "RUSTUP_HOME",
}

// passedOnAll begin the names of settings of package managers.
var passedOnAll = [...]string{"LC_", "XDG_", "PIP_", "UV_", "PYENV_", "R_", "RENV_"}
