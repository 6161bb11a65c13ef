package problem

import "net/http"

// Tracker is a ResponseWriter that knows whether its answer has begun: until
// then, a failure can still be answered with a problem.
type Tracker struct {
	http.ResponseWriter
	Begun bool
}

// WriteHeader implements http.ResponseWriter.
func (t *Tracker) WriteHeader(status int) {
	t.Begun = true
	t.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (t *Tracker) Write(p []byte) (int, error) {
	t.Begun = true
	return t.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (t *Tracker) Unwrap() http.ResponseWriter { return t.ResponseWriter }
