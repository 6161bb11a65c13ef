package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"modelmanager.dev"
)

// Options say how registries are reached.
type Options struct {
	// Insecure are the hosts (host:port) that may be spoken to without TLS,
	// beside loopback.
	Insecure []string
	// Keychain has the credentials; default: those of docker login, and of
	// the helpers that its configuration names.
	Keychain authn.Keychain
	// Transport carries the calls; default: one of its own.
	Transport http.RoundTripper
}

// Registry reads and writes images in registries. It is safe for concurrent use.
type Registry struct {
	insecure []string
	keychain authn.Keychain
	carrier  http.RoundTripper
	backoff  remote.Backoff
}

// NewRegistry makes a Registry; it connects to nothing yet.
func NewRegistry(o Options) *Registry {
	if o.Keychain == nil {
		o.Keychain = authn.DefaultKeychain
	}
	if o.Transport == nil {
		o.Transport = remote.DefaultTransport.(*http.Transport).Clone()
	}
	return &Registry{
		insecure: o.Insecure, keychain: o.Keychain,
		carrier: guard{o.Transport, o.Insecure},
		backoff: remote.Backoff{Duration: time.Second, Factor: 3, Jitter: 0.1, Steps: 4},
	}
}

// options are those of one operation.
func (r *Registry) options(ctx context.Context, more ...remote.Option) []remote.Option {
	return append([]remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(r.keychain), remote.WithTransport(r.carrier),
		remote.WithRetryBackoff(r.backoff), remote.WithRetryPredicate(temporary), remote.WithUserAgent("model-manager"),
	}, more...)
}

// temporary tells whether trying again may help.
func temporary(err error) bool {
	var refused *plainError
	if errors.As(err, &refused) {
		return false
	}
	var network net.Error
	var answer *transport.Error
	return errors.As(err, &answer) && answer.Temporary() || errors.As(err, &network) && network.Timeout() ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// plainName is a repository's name by OCI's rules; go-containerregistry would
// take ".." in it, too.
var plainName = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)

// parse reads a reference by tag or digest.
func (r *Registry) parse(reference string) (name.Reference, error) {
	ref, err := name.ParseReference(reference, r.naming(reference)...)
	if err != nil || !plainName.MatchString(ref.Context().RepositoryStr()) {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest,
			"%.300q is no name of an image; write registry.example.org/path/name:tag, or …@sha256:…", reference)
	}
	return ref, nil
}

// repository reads the name of a repository.
func (r *Registry) repository(repository string) (name.Repository, error) {
	repo, err := name.NewRepository(repository, append(r.naming(repository), name.StrictValidation)...)
	if err != nil || !plainName.MatchString(repo.RepositoryStr()) {
		return name.Repository{}, modelmanager.Errorf(modelmanager.CodeBadRequest,
			"%.300q is no name of a repository of images; write registry.example.org/path, in lower case", repository)
	}
	return repo, nil
}

func (r *Registry) naming(reference string) []name.Option {
	host, _, _ := strings.Cut(reference, "/")
	if slices.Contains(r.insecure, host) {
		return []name.Option{name.Insecure}
	}
	return nil
}

// guard refuses calls without TLS, but to loopback and to where it was allowed:
// the library itself would fall back to them in private networks.
type guard struct {
	http.RoundTripper
	insecure []string
}

// plainError is a call that wasn't made.
type plainError struct{ host string }

func (e *plainError) Error() string {
	return fmt.Sprintf("%s was not reached with TLS, and plain HTTP is refused but on loopback", e.host)
}

func (g guard) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Scheme == "http" && !loopback(request.URL.Hostname()) && !slices.Contains(g.insecure, request.URL.Host) {
		return nil, &plainError{request.URL.Host}
	}
	return g.RoundTripper.RoundTrip(request)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// explain says what went wrong between us and a registry. doing is what was
// being done to what.
func explain(ctx context.Context, err error, doing string, args ...any) error {
	doing = fmt.Sprintf(doing, args...)
	var known *modelmanager.Error
	var answer *transport.Error
	var refused *plainError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	case errors.As(err, &known):
		return fmt.Errorf("%s: %w", doing, err)
	case errors.As(err, &refused):
		return modelmanager.Errorf(modelmanager.CodeUnavailable, "%s: %w; if it must be so, --insecure-registry %s", doing, refused, refused.host)
	case !errors.As(err, &answer):
		return modelmanager.Errorf(modelmanager.CodeUnavailable, "%s: the registry can't be reached: %w", doing, err)
	}
	switch answer.StatusCode {
	case http.StatusNotFound:
		return modelmanager.Errorf(modelmanager.CodeNotFound, "%s: the registry doesn't have it", doing)
	case http.StatusUnauthorized, http.StatusForbidden:
		return modelmanager.Errorf(modelmanager.CodeForbidden,
			"%s: the registry doesn't allow it (%d); log in with `docker login` or `crane auth login`, or ask for the right", doing, answer.StatusCode)
	}
	if answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests {
		return modelmanager.Errorf(modelmanager.CodeUnavailable, "%s: the registry failed: %w", doing, answer)
	}
	return modelmanager.Errorf(modelmanager.CodeBadRequest, "%s: the registry refused it: %w", doing, answer)
}

// missing tells whether a registry said that it doesn't have something.
func missing(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}
