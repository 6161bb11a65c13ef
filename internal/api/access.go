package api

import (
	"context"
	"net/http"
	"sync"

	"modelmanager.dev"
	"modelmanager.dev/internal/auth"
	"modelmanager.dev/internal/registry"
)

// rule is what a call needs: a verb on something.
type rule struct {
	on   subject
	verb auth.Verb
}

// subject is what a call is about.
type subject int

const (
	anybody   subject = iota + 1 // even who isn't known
	somebody                     // whoever is known
	endpoint                     // the path itself
	allModels                    // every model there is
	oneModel                     // the model that the path names
	jobsModel                    // the model of the job that the path names
	listed                       // the model that the query names, or, without one, every model
)

// rules has one rule for each route. A route without one is closed to all.
// docs/access.md shows it to people.
func rules() map[string]rule {
	return map[string]rule{
		"GET /healthz": {on: anybody},
		"GET /readyz":  {on: somebody},
		"GET /metrics": {endpoint, auth.Get},

		"GET /openapi.json":     {on: somebody},
		"GET /openapi.yaml":     {on: somebody},
		"GET /openapi-3.0.json": {on: somebody},
		"GET /openapi-3.0.yaml": {on: somebody},
		"GET /v1/version":       {on: somebody},
		"GET /v1/limits":        {on: somebody},
		"/":                     {on: somebody}, // what there isn't

		"GET /v1/activity":                                   {allModels, auth.List},
		"GET /v1/models/{model}/activity":                    {oneModel, auth.Get},
		"GET /v1/models":                                     {allModels, auth.List},
		"GET /v1/models/{model}":                             {oneModel, auth.Get},
		"DELETE /v1/models/{model}":                          {oneModel, auth.Retire},
		"GET /v1/models/{model}/versions":                    {oneModel, auth.Get},
		"POST /v1/models/{model}/versions":                   {oneModel, auth.Publish},
		"GET /v1/models/{model}/versions/{version}":          {oneModel, auth.Get},
		"POST /v1/models/{model}/versions/{version}/rollout": {oneModel, auth.Publish},
		"GET /v1/models/{model}/versions/{version}/logs":     {oneModel, auth.Get},
		"GET /v1/models/{model}/versions/{version}/card":     {oneModel, auth.Get},
		"GET /v1/models/{model}/diff":                        {oneModel, auth.Get},
		"GET /v1/models/{model}/traffic":                     {oneModel, auth.Get},
		"PUT /v1/models/{model}/traffic":                     {oneModel, auth.Promote},
		"GET /v1/models/{model}/traffic/history":             {oneModel, auth.Get},
		"POST /v1/models/{model}/rollback":                   {oneModel, auth.Promote},
		"POST /v1/models/{model}/predict":                    {oneModel, auth.Predict},
		"POST /v1/models/{model}/versions/{version}/predict": {oneModel, auth.Predict},

		"POST /v1/uploads":                   {allModels, auth.Upload},
		"POST /v1/models/{model}/jobs":       {oneModel, auth.Submit},
		"POST /v1/models/{model}/jobs/check": {oneModel, auth.Submit},
		"GET /v1/jobs":                       {listed, auth.List},
		"GET /v1/jobs/{job}":                 {jobsModel, auth.Get},
		"GET /v1/jobs/{job}/events":          {jobsModel, auth.Get},
		"GET /v1/jobs/{job}/logs":            {jobsModel, auth.Get},
		"GET /v1/jobs/{job}/output":          {jobsModel, auth.Submit},
		"GET /v1/jobs/{job}/rejected":        {jobsModel, auth.Submit},
		"GET /v1/jobs/{job}/sample":          {jobsModel, auth.Submit},
		"POST /v1/jobs/{job}/retry":          {jobsModel, auth.Submit},
		"DELETE /v1/jobs/{job}":              {jobsModel, auth.Submit},
	}
}

// routes is the mux of the API. All that is mounted, by huma too, is mounted
// here, and gets its rule: there is no way past it.
type routes struct {
	*http.ServeMux
	api     *API
	rules   map[string]rule
	mounted []string
}

// HandleFunc mounts a handler behind the rule of its route.
func (m *routes) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	m.mounted = append(m.mounted, pattern)
	rule := m.rules[pattern]
	if rule.on == anybody {
		m.ServeMux.HandleFunc(pattern, handler)
		return
	}
	m.ServeMux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		who, err := m.api.admit(r, rule)
		if err != nil {
			if modelmanager.CodeOf(err) == modelmanager.CodeUnauthenticated && auth.Token(r.Header) != "" {
				w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			}
			m.api.writeError(w, r, err)
			return
		}
		if rule.verb != auth.Predict { // predictions record nobody, and cost too little for another copy of the request
			r = r.WithContext(context.WithValue(r.Context(), callerKey{}, who))
		}
		handler(w, r)
	})
}

// admit checks who calls against a rule.
func (a *API) admit(r *http.Request, rule rule) (*auth.Identity, error) {
	action, err := a.action(r, rule)
	if err != nil {
		return nil, err
	}
	return a.Auth.Check(r.Context(), auth.Token(r.Header), action)
}

// action is what a request asks for, by its rule.
func (a *API) action(r *http.Request, rule rule) (auth.Action, error) {
	action := auth.Action{Verb: rule.verb}
	switch rule.on {
	case somebody, allModels:
	case endpoint:
		action.Path = r.URL.Path
	case oneModel:
		action.Model = r.PathValue("model")
	case listed:
		if action.Model = r.URL.Query().Get("model"); action.Model != "" {
			action.Verb = auth.Get
		}
	case jobsModel:
		// Who is nobody isn't told which jobs there are.
		if _, err := a.Auth.Check(r.Context(), auth.Token(r.Header), auth.Action{}); err != nil {
			return action, err
		}
		model, err := a.modelOf(r.Context(), r.PathValue("job"))
		if err != nil {
			return action, err
		}
		action.Model = model
	default:
		return action, modelmanager.Errorf(modelmanager.CodeForbidden, "nobody may call this")
	}
	// What can't be a model's name is asked about as all of them, so that there
	// are no more questions than models.
	if action.Model != "" && registry.CheckName(action.Model) != nil {
		action.Model = ""
	}
	return action, nil
}

// modelOf returns the model of a job.
func (a *API) modelOf(ctx context.Context, job string) (string, error) {
	if model, ok := a.jobModels.get(job); ok {
		return model, nil
	}
	found, err := a.Jobs.Get(ctx, job)
	if err != nil {
		return "", err
	}
	a.jobModels.put(job, found.Model)
	return found.Model, nil
}

// jobModels remembers whose jobs are, which never changes, so that following a
// job doesn't read it twice each time.
type jobModels struct {
	mu     sync.Mutex
	models map[string]string
}

// maxJobModels bounds them; the map starts anew when it is full.
const maxJobModels = 10_000

func (j *jobModels) get(job string) (string, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	model, ok := j.models[job]
	return model, ok
}

func (j *jobModels) put(job, model string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.models == nil || len(j.models) >= maxJobModels {
		j.models = map[string]string{}
	}
	j.models[job] = model
}

type callerKey struct{}

// caller names who is calling; what the server does by itself, it does as
// "local".
func caller(ctx context.Context) string {
	if who, ok := ctx.Value(callerKey{}).(*auth.Identity); ok {
		return who.Name
	}
	return "local"
}

// closed is the Auth of an API that was given none.
type closed struct{}

func (closed) Authenticate(context.Context, string) (auth.Identity, error) {
	return auth.Identity{}, modelmanager.Errorf(modelmanager.CodeUnauthenticated, "this server was started without a way to know its callers")
}

func (closed) Authorize(context.Context, auth.Identity, auth.Action) (auth.Decision, error) {
	return auth.Decision{}, nil
}
