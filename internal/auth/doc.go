// Package auth says who may do what (docs/access.md). Who somebody is
// and what somebody may do are asked of two drivers, an Authenticator and an
// Authorizer; what their answers are good for, and for how long, is decided
// here, once, by Auth.
package auth

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// Verb is what somebody may do with a model.
type Verb string

// Every verb there is.
const (
	Get     Verb = "get"     // see a model, its versions, traffic, logs and jobs
	List    Verb = "list"    // search all models, and list all jobs
	Predict Verb = "predict" // ask for predictions in real time
	Submit  Verb = "submit"  // run jobs; read, retry, cancel and delete them
	Upload  Verb = "upload"  // bring files in, for jobs and versions to come
	Publish Verb = "publish" // add versions, which roll out as their spec says
	Promote Verb = "promote" // say which versions answer, and roll back
	Retire  Verb = "retire"  // end a model
)

// Verbs returns the closed set.
func Verbs() []Verb {
	return []Verb{Get, List, Predict, Submit, Upload, Publish, Promote, Retire}
}

// Action is what a call does: a verb on a model, on all models (Model is ""),
// or on an endpoint that is about no model (Path, such as /metrics). The zero
// Action is allowed to everybody who is somebody.
type Action struct {
	Verb  Verb
	Model string
	Path  string
}

// Identity is who calls.
type Identity struct {
	Name    string // unique: "local", "system:serviceaccount:ci:publisher", "ann@example.org"
	UID     string
	Groups  []string
	Extra   map[string][]string
	Expires time.Time // when the token ends; zero: it doesn't, as far as is known
}

// Authenticator tells whose token it is.
type Authenticator interface {
	// Authenticate answers who somebody is that sent this token; "" is none. An
	// error of CodeUnauthenticated says that the token is nobody's, and is told
	// to the caller; any other, that it can't be known now.
	Authenticate(ctx context.Context, token string) (Identity, error)
}

// Decision is an Authorizer's answer.
type Decision struct {
	Allowed bool
	// Needs says what an operator would grant, where it isn't allowed:
	// `the verb predict on models.modelmanager.dev "scorer"`.
	Needs string
}

// Authorizer tells what somebody may do.
type Authorizer interface {
	// Authorize decides about an action that isn't zero. What is allowed on all
	// models is allowed on each. An error says that it can't be known now.
	Authorize(ctx context.Context, who Identity, action Action) (Decision, error)
}

// maxToken bounds what is taken for a token, in bytes.
const maxToken = 16 << 10

// Token returns the bearer token of a request; "" if it has none.
func Token(header http.Header) string {
	scheme, token, found := strings.Cut(header.Get("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	if token = strings.TrimSpace(token); len(token) > maxToken {
		return ""
	}
	return token
}
