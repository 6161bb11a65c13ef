package buildkit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"
	"github.com/tonistiigi/fsutil"

	"modelmanager.dev"
	"modelmanager.dev/internal/image"
)

// Options say where BuildKit is.
type Options struct {
	// Address is unix:///run/buildkit/buildkitd.sock, or tcp://host:1234.
	Address string
	// TLS is a folder with ca.pem, and cert.pem and key.pem if the daemon asks
	// for a certificate. Without it, tcp reaches this machine alone.
	TLS string
	// Keychain has the credentials of registries; default: those of docker
	// login, and of the helpers that its configuration names.
	Keychain authn.Keychain
}

// Builder builds images by BuildKit. It is safe for concurrent use.
type Builder struct {
	options Options
	client  []client.ClientOpt
}

// New makes a Builder; it connects to nothing yet.
func New(o Options) (*Builder, error) {
	if o.Keychain == nil {
		o.Keychain = authn.DefaultKeychain
	}
	b := &Builder{options: o}
	address, err := url.Parse(o.Address)
	if err != nil || address.Scheme != "unix" && address.Scheme != "tcp" || address.Scheme == "tcp" && address.Port() == "" || address.Scheme == "unix" && !filepath.IsAbs(address.Path) {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest,
			"%q is no address of BuildKit; write unix:///run/buildkit/buildkitd.sock, or tcp://host:1234", o.Address)
	}
	if o.TLS == "" {
		if host := address.Hostname(); address.Scheme == "tcp" && host != "localhost" && !net.ParseIP(host).IsLoopback() {
			return nil, modelmanager.Errorf(modelmanager.CodeBadRequest,
				"BuildKit at %s is on another machine, and is reached with TLS only; name the folder with ca.pem, cert.pem and key.pem with --buildkit-tls, or forward its port to this machine", o.Address)
		}
		return b, nil
	}
	if address.Scheme != "tcp" {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "BuildKit at %s is a socket of this machine, which has no TLS; leave --buildkit-tls out", o.Address)
	}
	in := func(name string) string { return filepath.Join(o.TLS, name) }
	if _, err := os.Stat(in("ca.pem")); err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "the folder %s of --buildkit-tls must have ca.pem, the authority of BuildKit's certificate: %w", o.TLS, err)
	}
	b.client = append(b.client, client.WithServerConfig("", in("ca.pem")))
	if _, err := os.Stat(in("cert.pem")); err == nil {
		b.client = append(b.client, client.WithCredentials(in("cert.pem"), in("key.pem")))
	}
	return b, nil
}

// buildTimeout bounds a build; compiling packages of R takes long.
const buildTimeout = 2 * time.Hour

// Build builds an image, and pushes it to its repository by digest; it returns
// its reference there, REPOSITORY@sha256:….
//
// Errors: CodeInvalidSpec if the Dockerfile or one of its steps is at fault, with
// its line and what it wrote last; CodeForbidden if the registry refuses;
// CodeUnavailable if BuildKit can't be reached, or was lost.
func (b *Builder) Build(ctx context.Context, recipe image.Recipe) (string, error) {
	limited, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	c, err := b.connect(limited)
	if err != nil {
		return "", b.unreachable(ctx, recipe, err)
	}
	defer c.Close()
	options, err := b.solution(recipe)
	if err != nil {
		return "", fmt.Errorf("building %s: %w", recipe.Name, err)
	}
	statuses := make(chan *client.SolveStatus)
	watched := make(chan struct{})
	steps := newSteps(recipe.Progress)
	go func() {
		defer close(watched)
		for status := range statuses {
			steps.take(status)
		}
	}()
	result, err := c.Solve(limited, nil, options, statuses) // closes statuses
	<-watched
	steps.end()
	if err != nil {
		if ctx.Err() == nil && limited.Err() != nil {
			return "", modelmanager.Errorf(modelmanager.CodeInvalidSpec, "building %s took longer than %s", recipe.Name, buildTimeout)
		}
		return "", b.explain(ctx, recipe, steps, err)
	}
	digest := result.ExporterResponse["containerimage.digest"]
	if digest == "" {
		return "", modelmanager.Errorf(modelmanager.CodeUnavailable, "building %s: BuildKit at %s doesn't say what it has pushed; it may be too old", recipe.Name, b.options.Address)
	}
	return recipe.Repository + "@" + digest, nil
}

// connectTimeout bounds how long the daemon may take to say who it is.
const connectTimeout = 20 * time.Second

func (b *Builder) connect(ctx context.Context) (*client.Client, error) {
	c, err := client.New(ctx, b.options.Address, b.client...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if _, err := c.Info(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// solution is what BuildKit is asked for.
func (b *Builder) solution(recipe image.Recipe) (client.SolveOpt, error) {
	var none client.SolveOpt
	files, err := contextOf(recipe.Dir)
	if err != nil {
		return none, err
	}
	platform := recipe.Platform
	if platform == "" {
		platform = image.DefaultPlatform
	}
	frontend := map[string]string{
		"filename":                    filepath.ToSlash(recipe.Dockerfile),
		"platform":                    platform,
		"image-resolve-mode":          "pull", // a tag means what the registry says, not what the daemon remembers
		"build-arg:SOURCE_DATE_EPOCH": "0",
	}
	maps.Copy(frontend, proxies())
	if recipe.Afresh {
		frontend["no-cache"] = ""
	}
	export := map[string]string{
		"name": recipe.Repository, "push": "true", "push-by-digest": "true", "name-canonical": "true",
		"store": "false", "oci-mediatypes": "true", "compression": "zstd", "rewrite-timestamp": "true",
	}
	if recipe.Plain {
		export["registry.insecure"] = "true"
	}
	return client.SolveOpt{
		Exports:       []client.ExportEntry{{Type: client.ExporterImage, Attrs: export}},
		LocalMounts:   map[string]fsutil.FS{"context": files, "dockerfile": files},
		SharedKey:     newKey(),
		Frontend:      "dockerfile.v0",
		FrontendAttrs: frontend,
		Session: []session.Attachable{authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{
			AuthConfigProvider: credentials(b.options.Keychain),
		})},
	}, nil
}

// proxies are this machine's, for steps that need a network. Dockerfiles have
// these arguments without declaring them, and images have no trace of them.
func proxies() map[string]string {
	arguments := map[string]string{}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "FTP_PROXY", "ALL_PROXY"} {
		for _, name := range []string{name, strings.ToLower(name)} {
			value := os.Getenv(name)
			if proxy, err := url.Parse(value); value == "" || err == nil && (proxy.Hostname() == "localhost" || net.ParseIP(proxy.Hostname()).IsLoopback()) {
				continue // another machine's loopback leads nowhere
			}
			arguments["build-arg:"+name] = value
		}
	}
	return arguments
}

// unreachable says that there is no BuildKit.
func (b *Builder) unreachable(ctx context.Context, recipe image.Recipe, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("building %s: %w", recipe.Name, ctx.Err())
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("it doesn't answer within %s", connectTimeout)
	}
	return modelmanager.Errorf(modelmanager.CodeUnavailable,
		"building %s: BuildKit at %s can't be reached: %s; see that buildkitd runs there and that you may use it, or name another one with --buildkit or $BUILDKIT_HOST",
		recipe.Name, b.options.Address, plainText(err))
}
