// Package api is the REST API (contract 4). Calls about models, versions,
// traffic and jobs go through huma, which checks them and writes the OpenAPI
// document; rows and files stream past it, through plain handlers.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"modelmanager.dev"
	"modelmanager.dev/internal/batch"
	"modelmanager.dev/internal/gateway"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/problem"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/storage"
)

// Config is what the API stands on.
type Config struct {
	Registry *registry.Registry
	Platform *platform.Platform
	Gateway  *gateway.Gateway
	Jobs     *batch.Service
	Uploads  *storage.Uploads
	// Adopt makes an upload the artifact of a version: it checks that it is an
	// archive of a model's folder, and keeps it.
	Adopt func(ctx context.Context, upload string) (modelmanager.Artifact, error)
	// Ready says why the server can't serve yet; nil: it can.
	Ready func() error

	Version string // of the program
	Metrics http.Handler
	Logger  *slog.Logger

	// Hosts are the names by which callers may address the server, beside
	// loopback addresses: a page of a stranger can't reach the API through a
	// name of its own (DNS rebinding). "*" allows all.
	Hosts []string
}

// API is the http.Handler of everything under /v1, and of the operations.
type API struct {
	Config
	mux *http.ServeMux
}

// New makes the API.
func New(config Config) *API {
	a := &API{Config: config, mux: http.NewServeMux()}
	// huma knows one way to make its own errors ours: this variable.
	huma.NewError = newError

	settings := huma.DefaultConfig("Model Manager", config.Version)
	settings.Info.Description = "Find models, ask them for predictions in real time and in batch, and manage their versions."
	settings.DocsPath = ""     // it would load a script from another host
	settings.CreateHooks = nil // no $schema in answers
	settings.SchemasPath = ""  // the OpenAPI document has them
	settings.RejectUnknownQueryParameters = true
	h := humago.New(a.mux, settings)

	a.registerModels(h)
	a.registerVersions(h)
	a.registerTraffic(h)
	a.registerPredict(h)
	a.registerJobs(h)
	a.registerUploads(h)
	a.registerOperations(h)
	a.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problem.Write(w, modelmanager.Errorf(modelmanager.CodeNotFound,
			"there is no %s %s; /openapi.json lists what there is", r.Method, r.URL.Path))
	})
	return a
}

// ServeHTTP answers a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := a.guard(r); err != nil {
		problem.Write(w, err)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// statusError makes one of our errors huma's: its JSON is the problem.
type statusError struct {
	problem.Problem
	err error
}

// GetStatus implements huma.StatusError.
func (e statusError) GetStatus() int { return e.Status }

// Error implements error.
func (e statusError) Error() string { return e.Detail }

// ContentType implements huma.ContentTypeFilter.
func (e statusError) ContentType(string) string { return problem.ContentType }

// failed turns an error into what huma answers with.
func (a *API) failed(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	p := problem.Of(err)
	if p.Code == modelmanager.CodeInternal {
		a.Logger.ErrorContext(ctx, "a call failed", "error", err)
	}
	coded := statusError{Problem: p, err: err}
	if seconds := problem.RetryAfter(err); seconds > 0 {
		return huma.ErrorWithHeaders(coded, http.Header{"Retry-After": {fmt.Sprint(seconds)}})
	}
	return coded
}

// newError makes huma's own errors, of requests that break the schema, into
// problems with our codes.
func newError(status int, message string, causes ...error) huma.StatusError {
	var details []string
	for _, cause := range causes {
		var detail *huma.ErrorDetail
		switch {
		case cause == nil:
		case errors.As(cause, &detail) && detail.Location != "":
			details = append(details, detail.Location+": "+detail.Message)
		default:
			details = append(details, cause.Error())
		}
	}
	if len(details) > 0 {
		message += ": " + strings.Join(details, "; ")
	}
	p := problem.Of(&modelmanager.Error{Code: codeOf(status), Detail: message})
	if status != 0 {
		p.Status = status
	}
	return statusError{Problem: p}
}

func codeOf(status int) modelmanager.Code {
	switch {
	case status == http.StatusNotFound:
		return modelmanager.CodeNotFound
	case status == http.StatusRequestEntityTooLarge:
		return modelmanager.CodeTooLarge
	case status == http.StatusUnsupportedMediaType:
		return modelmanager.CodeUnsupportedMedia
	case status >= 500:
		return modelmanager.CodeInternal
	}
	return modelmanager.CodeBadRequest
}
