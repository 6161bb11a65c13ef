package api

import (
	"fmt"
	"net/http"
	"runtime/debug"

	"modelmanager.dev"
	"modelmanager.dev/internal/problem"
)

// recovered is deferred around every call: a panic in a handler is a problem of
// that call alone. Where the answer has begun, only cutting the connection
// tells the caller that it isn't whole.
func (a *API) recovered(w *problem.Tracker, r *http.Request) {
	cause := recover()
	if cause == nil {
		return
	}
	if cause == http.ErrAbortHandler {
		panic(cause)
	}
	a.Logger.ErrorContext(r.Context(), "a call panicked", "method", r.Method, "path", r.URL.Path,
		"panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
	if w.Begun {
		panic(http.ErrAbortHandler)
	}
	clear(w.Header())
	problem.Write(w, modelmanager.Errorf(modelmanager.CodeInternal, "Model Manager failed; the server's log says why"))
}
