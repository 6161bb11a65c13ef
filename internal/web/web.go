package web

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/client"
	"modelmanager.dev/internal/problem"
)

// Config is what the page stands on.
type Config struct {
	// API answers /v1 and the operations' paths, and the page's own calls.
	API http.Handler
	// Guard refuses requests that a browser was tricked into: to a name that
	// isn't the server's, or from another site's page.
	Guard func(r *http.Request) error
	// Who says whose token it is; nil: nobody's name is shown.
	Who func(ctx context.Context, token string) (string, error)
	// Provider is where people sign in; nil: they paste a token.
	Provider Provider
	// PublicURL is the page's address as browsers know it, without a path: a
	// Provider sends them back there, and programs are told to call it. "": the
	// one that a visitor uses.
	PublicURL string
	// Key seals cookies. All replicas of a server have the same.
	Key []byte

	Version string // of the program
	Logger  *slog.Logger
}

// Web is the http.Handler of the pages, and in front of the API's.
type Web struct {
	Config
	client    *client.Client
	seal      cipher.AEAD
	tokenKey  []byte // of the tokens in forms
	cookie    string // the session's name
	assets    *assets
	cards     *cardRenderer
	changes   changesMemory
	templates map[string]*pageTemplate
	mux       *http.ServeMux
}

// New makes the pages. It fails only on a mistake in a template or in config.
func New(config Config) (*Web, error) {
	w := &Web{Config: config, mux: http.NewServeMux(), cards: newCardRenderer()}
	if w.Logger == nil {
		w.Logger = slog.Default()
	}
	if w.Guard == nil {
		w.Guard = func(*http.Request) error { return nil }
	}
	if w.Provider != nil && w.PublicURL == "" {
		return nil, errors.New("a provider needs the page's own address, to send people back to")
	}
	var err error
	if w.client, err = newClient(config.API); err != nil {
		return nil, err
	}
	if err := w.newKeys(config.Key); err != nil {
		return nil, err
	}
	if w.assets, err = newAssets(); err != nil {
		return nil, err
	}
	if err := w.parseTemplates(); err != nil {
		return nil, err
	}
	w.mount()
	return w, nil
}

// mount mounts every page.
func (w *Web) mount() {
	w.mux.Handle("GET /assets/{hash}/{name}", w.assets)
	w.get("GET /favicon.ico", func(v *visit) error {
		http.Redirect(v.w, v.r, w.assets.url("logo.svg"), http.StatusFound)
		return nil
	})
	w.mountSession()
	w.mountCatalogue()
	w.mountBatch()
	w.mountJobs()
	w.mountJob()
	w.mountOperations()
	w.mountModel()
	w.mountVersions()
	w.mountCompare()
	w.mountTraffic()
	w.mountTry()
	w.get("/", func(v *visit) error {
		return modelmanager.Errorf(modelmanager.CodeNotFound, "there is no page %.200s", v.r.URL.Path)
	})
}

// apiPaths are the API's paths beside those under /v1.
var apiPaths = map[string]bool{
	"/v1": true, "/healthz": true, "/readyz": true, "/metrics": true,
	"/openapi.json": true, "/openapi.yaml": true, "/openapi-3.0.json": true, "/openapi-3.0.yaml": true,
}

// ServeHTTP answers a request: the API's calls by the API, the rest by a page.
func (w *Web) ServeHTTP(writer http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/v1/") || apiPaths[r.URL.Path] {
		w.API.ServeHTTP(writer, r)
		return
	}
	// What is no page, programs are told in their own way.
	if _, pattern := w.mux.Handler(r); pattern == "/" && !strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.API.ServeHTTP(writer, r)
		return
	}
	w.mux.ServeHTTP(writer, r)
}

// handler answers a visit. Nothing may have been written when it returns an
// error, which is then shown as a page.
type handler func(v *visit) error

// get mounts a page that changes nothing.
func (w *Web) get(pattern string, handle handler) {
	if !strings.Contains(pattern, " ") && pattern != "/" {
		pattern = "GET " + pattern
	}
	w.handle(pattern, handle)
}

// maxForm bounds a form without files, in bytes.
const maxForm = 4 << 20

// post mounts what changes something: the form has been read, and its token
// checked, when handle is called.
func (w *Web) post(pattern string, handle handler) {
	w.handle("POST "+pattern, func(v *visit) error {
		v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
		if err := v.r.ParseForm(); err != nil {
			return modelmanager.Errorf(modelmanager.CodeBadRequest, "reading the form: %w", err)
		}
		if err := v.checkToken(v.r.PostFormValue(tokenField)); err != nil {
			return err
		}
		return handle(v)
	})
}

// upload mounts what takes a form with files (multipart/form-data), unread:
// handle gets it from visit.parts, which checks the token.
func (w *Web) upload(pattern string, handle handler) { w.handle("POST "+pattern, handle) }

func (w *Web) handle(pattern string, handle handler) {
	w.mux.HandleFunc(pattern, func(writer http.ResponseWriter, r *http.Request) {
		w.secure(writer.Header())
		tracked := &problem.Tracker{ResponseWriter: writer}
		v := &visit{web: w, w: tracked, r: r}
		defer w.recovered(v, tracked)
		v.session = w.readSession(r)
		v.r = r.WithContext(withToken(r.Context(), v.session.Token))
		err := w.Guard(r)
		if err == nil {
			err = handle(v)
		}
		if err != nil {
			v.fail(err)
		}
	})
}

// policy lets a page load what this server has, and nothing from elsewhere; no
// script or style may stand in a page itself.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// secure sets what every answer has.
func (w *Web) secure(header http.Header) {
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "same-origin")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
}

// recovered is deferred around every visit: a panic is a failure of that visit
// alone. Where the answer has begun, only cutting the connection tells that it
// isn't whole.
func (w *Web) recovered(v *visit, tracked *problem.Tracker) {
	cause := recover()
	if cause == nil {
		return
	}
	if cause == http.ErrAbortHandler {
		panic(cause)
	}
	w.Logger.ErrorContext(v.r.Context(), "a page panicked", "method", v.r.Method, "path", v.r.URL.Path,
		"panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
	if tracked.Begun {
		panic(http.ErrAbortHandler)
	}
	v.fail(modelmanager.Errorf(modelmanager.CodeInternal, "Model Manager failed; the server's log says why"))
}
