package api

import (
	"fmt"
	"net/http"
	"runtime/debug"

	"modelmanager.dev"
	"modelmanager.dev/internal/problem"
)

// tracker knows whether an answer has begun.
type tracker struct {
	http.ResponseWriter
	begun bool
}

// WriteHeader implements http.ResponseWriter.
func (t *tracker) WriteHeader(status int) {
	t.begun = true
	t.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (t *tracker) Write(p []byte) (int, error) {
	t.begun = true
	return t.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (t *tracker) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// recovered is deferred around every call: a panic in a handler is a problem of
// that call alone. Where the answer has begun, only cutting the connection
// tells the caller that it isn't whole.
func (a *API) recovered(w *tracker, r *http.Request) {
	cause := recover()
	if cause == nil {
		return
	}
	if cause == http.ErrAbortHandler {
		panic(cause)
	}
	a.Logger.ErrorContext(r.Context(), "a call panicked", "method", r.Method, "path", r.URL.Path,
		"panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
	if w.begun {
		panic(http.ErrAbortHandler)
	}
	clear(w.Header())
	problem.Write(w, modelmanager.Errorf(modelmanager.CodeInternal, "Model Manager failed; the server's log says why"))
}
