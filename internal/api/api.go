// Package api is the REST API (docs/api.md). Calls about models, versions,
// traffic and jobs go through huma, which checks them and writes the OpenAPI
// document; rows and files stream past it, through plain handlers.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"modelmanager.dev"
	"modelmanager.dev/internal/activity"
	"modelmanager.dev/internal/auth"
	"modelmanager.dev/internal/batch"
	"modelmanager.dev/internal/gateway"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/problem"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/rollout"
	"modelmanager.dev/internal/storage"
)

// Config is what the API stands on.
type Config struct {
	Registry *registry.Registry
	Platform *platform.Platform
	Gateway  *gateway.Gateway
	Activity *activity.Service
	Rollouts *rollout.Loop // nil: nobody can say how a canary is
	Jobs     *batch.Service
	Uploads  *storage.Uploads
	// MaxUpload is the largest upload, in bytes; 0: 1 TiB.
	MaxUpload int64
	// Bucket keeps what an Idempotency-Key of a publication led to.
	Bucket *storage.Bucket
	// Adopt makes an upload the artifact of a version: it checks that it is an
	// archive of a model's folder, and keeps it.
	Adopt func(ctx context.Context, upload string) (modelmanager.Artifact, error)
	// Artifacts says what publishers bring; the zero value: archives.
	Artifacts modelmanager.Artifacts
	// Image makes an image, named by digest, the artifact of a model's version:
	// it checks that it is there, and may be the model's. nil: any image is
	// taken at its word.
	Image func(ctx context.Context, model, reference string) (modelmanager.Artifact, error)
	// Card reads a version's card, a file of its folder; nil: nobody's.
	Card func(ctx context.Context, version modelmanager.Version, path string) ([]byte, error)
	// Ready says why the server can't serve yet; nil: it can.
	Ready func() error
	// Auth knows callers and their rights; nil: nobody may call but for /healthz.
	Auth *auth.Auth

	Version string       // of the program
	Metrics http.Handler // nil: none
	Logger  *slog.Logger // nil: slog.Default

	// Hosts are the names by which callers may address the server, beside
	// loopback addresses: a page of a stranger can't reach the API through a
	// name of its own (DNS rebinding). "*" allows all.
	Hosts []string
}

// API is the http.Handler of everything under /v1, and of the operations.
type API struct {
	Config
	mux       *routes
	jobModels jobModels

	draining chan struct{} // closed by Drain
	drain    sync.Once
}

// New makes the API.
func New(config Config) *API {
	a := &API{Config: config, draining: make(chan struct{})}
	a.mux = &routes{ServeMux: http.NewServeMux(), api: a, rules: rules()}
	if a.Logger == nil {
		a.Logger = slog.Default()
	}
	if a.MaxUpload == 0 {
		a.MaxUpload = defaultMaxUpload
	}
	if a.Artifacts.Kind == "" {
		a.Artifacts.Kind = modelmanager.ArtifactArchive
	}
	if a.Ready == nil {
		a.Ready = func() error { return nil }
	}
	if a.Metrics == nil {
		a.Metrics = http.NotFoundHandler()
	}
	if a.Auth == nil {
		a.Auth = auth.New(auth.Options{Authenticator: closed{}, Authorizer: closed{}, Logger: a.Logger})
	}
	adoptErrors()
	h := a.newHuma()
	a.registerModels(h)
	a.registerVersions(h)
	a.registerCard(h)
	a.registerTraffic(h)
	a.registerActivity(h)
	a.registerPredict(h)
	a.registerJobs(h)
	a.registerUploads(h)
	a.registerOperations(h)
	a.registerLimits(h)
	closeCodes(h)
	a.mux.HandleFunc("/", a.unknown)
	return a
}

func (a *API) newHuma() huma.API {
	settings := huma.DefaultConfig("Model Manager", a.Version)
	settings.Info.Description = "Find models, ask them for predictions in real time and in batch, and manage their versions. " +
		"Errors are RFC 9457 problems with a `code` from a closed set. GET /v1/limits tells what a call may ask for."
	settings.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", Description: "A Kubernetes token for this server's audience, or an ID token of the operator's OpenID provider"},
	}
	settings.Security = []map[string][]string{{"bearer": {}}, {}} // on one machine, callers need none
	settings.DocsPath = ""                                        // it would load a script from another host
	settings.CreateHooks = nil                                    // no $schema in answers
	settings.SchemasPath = ""                                     // the OpenAPI document has them
	h := humago.New(a.mux, settings)
	h.UseMiddleware(a.checkCall)
	return h
}

// Drain ends what would go on for ever, streams of events: a server that shuts
// down calls it, so that it waits for none of them. Their readers come back.
func (a *API) Drain() { a.drain.Do(func() { close(a.draining) }) }

// ServeHTTP answers a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tracked := &problem.Tracker{ResponseWriter: w}
	defer a.recovered(tracked, r)
	if err := a.guard(r); err != nil {
		problem.Write(tracked, err)
		return
	}
	tracked.Header()["X-Content-Type-Options"] = nosniff
	a.mux.ServeHTTP(tracked, r)
}

// nosniff keeps browsers from taking an answer for something else than it says.
var nosniff = []string{"nosniff"}

// unknown answers what no call is for.
func (a *API) unknown(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		if _, pattern := a.mux.Handler(&http.Request{Method: method, URL: r.URL, Host: r.Host}); pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		problem.Write(w, modelmanager.Errorf(modelmanager.CodeNotFound,
			"there is no %.20s %.200s; /openapi.json lists what there is", r.Method, r.URL.Path))
		return
	}
	list := strings.Join(allowed, ", ")
	w.Header().Set("Allow", list)
	problem.WriteStatus(w, http.StatusMethodNotAllowed, modelmanager.Errorf(modelmanager.CodeBadRequest,
		"%.20s is nothing that %.200s does; it takes %s", r.Method, r.URL.Path, list))
}
