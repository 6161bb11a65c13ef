package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"modelmanager.dev"
	"modelmanager.dev/internal/problem"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/wording"
)

// schemasKey is where an operation's metadata has the schemas of its API.
const schemasKey = "schemas"

// register mounts a call that huma reads and answers.
func register[I, O any](h huma.API, operation huma.Operation, handler func(context.Context, *I) (*O, error)) {
	operation.Metadata = map[string]any{schemasKey: h.OpenAPI().Components.Schemas}
	operation.MaxBodyBytes = max(operation.MaxBodyBytes, maxBody)
	huma.Register(h, operation, handler)
}

// plain mounts a handler that streams, and describes it in the OpenAPI document.
func (a *API) plain(h huma.API, operation huma.Operation, contentType string, handler func(http.ResponseWriter, *http.Request) error) {
	if operation.Responses == nil {
		operation.Responses = map[string]*huma.Response{
			"200": {Description: "OK", Content: map[string]*huma.MediaType{contentType: {}}},
		}
	}
	operation.Responses["default"] = problemResponse(h)
	describePath(&operation)
	h.OpenAPI().AddOperation(&operation)
	a.mux.HandleFunc(operation.Method+" "+operation.Path, func(w http.ResponseWriter, r *http.Request) {
		err := checkQuery(&operation, r.URL.RawQuery)
		if err == nil {
			err = handler(w, r)
		}
		if err != nil {
			a.writeError(w, r, err)
		}
	})
}

func answerOf[T any](h huma.API, description string) *huma.Response {
	schema := h.OpenAPI().Components.Schemas.Schema(typeOf[T](), true, "")
	return &huma.Response{Description: description, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
}

func problemResponse(h huma.API) *huma.Response {
	schema := h.OpenAPI().Components.Schemas.Schema(typeOf[Problem](), true, "Problem")
	return &huma.Response{Description: "A problem", Content: map[string]*huma.MediaType{problem.ContentType: {Schema: schema}}}
}

// closeCodes lists the closed set of codes in the schema of problems.
func closeCodes(h huma.API) {
	code := h.OpenAPI().Components.Schemas.Map()["Problem"].Properties["code"]
	for _, known := range problem.Codes() {
		code.Enum = append(code.Enum, string(known))
	}
}

// describePath adds the path's own parameters to an operation.
func describePath(operation *huma.Operation) {
	for _, name := range []string{"model", "version", "job"} {
		schema := &huma.Schema{Type: huma.TypeString}
		if name == "version" {
			schema.Type = huma.TypeInteger
		}
		if slices.Contains(strings.Split(operation.Path, "/"), "{"+name+"}") {
			operation.Parameters = append(operation.Parameters, &huma.Param{Name: name, In: "path", Required: true, Schema: schema})
		}
	}
}

// checkCall is the middleware of the calls that huma reads.
func (a *API) checkCall(ctx huma.Context, next func(huma.Context)) {
	called := ctx.URL()
	if err := checkQuery(ctx.Operation(), called.RawQuery); err != nil {
		r, w := humago.Unwrap(ctx)
		a.writeError(w, r, err)
		return
	}
	next(ctx)
}

// checkQuery refuses parameters that an operation doesn't have, and those that
// are there twice, of which one would be ignored.
func checkQuery(operation *huma.Operation, raw string) error {
	if raw == "" {
		return nil
	}
	bad := func(format string, args ...any) error {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, format, args...)
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return bad("the query can't be read: %w", err)
	}
	known := map[string]*huma.Param{}
	for _, parameter := range operation.Parameters {
		if parameter.In == "query" {
			known[parameter.Name] = parameter
		}
	}
	for name, values := range query {
		parameter := known[name]
		switch {
		case parameter == nil && len(known) == 0:
			return bad("%q is no parameter of this call, which has none in its query", shortened(name))
		case parameter == nil:
			return bad("%q is no parameter of this call%s", shortened(name), suggestion(name, known))
		case len(values) > 1 && parameter.Schema.Type != huma.TypeArray:
			return bad("the query has %s %d times; it can have one", name, len(values))
		}
	}
	return nil
}

func suggestion(name string, known map[string]*huma.Param) string {
	var names []string
	for name := range known {
		names = append(names, name)
	}
	slices.Sort(names)
	if meant := spec.Nearest(name, names); meant != "" {
		return fmt.Sprintf("; did you mean %s?", meant)
	}
	return "; it has " + strings.Join(names, ", ")
}

func shortened(text string) string { return wording.Shorten(text, 100) }

// labelsOf reads name=value pairs.
func labelsOf(pairs []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, pair := range pairs {
		name, value, found := strings.Cut(pair, "=")
		if !found || name == "" {
			return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "label %q is not name=value", shortened(pair))
		}
		if other, twice := labels[name]; twice && other != value {
			return nil, modelmanager.Errorf(modelmanager.CodeBadRequest,
				"label %s can't be both %q and %q: several labels select what has all of them", name, shortened(other), shortened(value))
		}
		labels[name] = value
	}
	return labels, nil
}
