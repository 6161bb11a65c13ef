package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"modelmanager.dev"
	"modelmanager.dev/internal/problem"
	"modelmanager.dev/internal/spec"
)

// Problem makes one of our errors huma's, and is its schema.
type Problem struct{ problem.Problem }

// GetStatus implements huma.StatusError.
func (e Problem) GetStatus() int { return e.Status }

// Error implements error.
func (e Problem) Error() string { return e.Detail }

// ContentType implements huma.ContentTypeFilter.
func (e Problem) ContentType(string) string { return problem.ContentType }

// failed turns an error into what huma answers with.
func (a *API) failed(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	p := problem.Of(err)
	if p.Code == modelmanager.CodeInternal {
		a.Logger.ErrorContext(ctx, "a call failed", "error", err)
	}
	coded := Problem{p}
	if seconds := problem.RetryAfter(err); seconds > 0 {
		return huma.ErrorWithHeaders(coded, http.Header{"Retry-After": {fmt.Sprint(seconds)}})
	}
	return coded
}

// writeError answers a call with a problem, where huma isn't asked.
func (a *API) writeError(w http.ResponseWriter, r *http.Request, err error) {
	if modelmanager.CodeOf(err) == modelmanager.CodeInternal && r.Context().Err() == nil {
		a.Logger.ErrorContext(r.Context(), "a call failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	problem.Write(w, err)
}

// adoptErrors makes huma's own errors, of requests that it can't read, into
// our problems. huma knows one way to do so: variables of the package, which
// are set once for all APIs of the process.
var adoptErrors = sync.OnceFunc(func() {
	huma.NewError = func(status int, message string, causes ...error) huma.StatusError {
		return refusal(nil, status, message, causes)
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, message string, causes ...error) huma.StatusError {
		return refusal(ctx, status, message, causes)
	}
})

// unreadBody is what huma says when a body breaks off. It takes that for its
// own fault; it is the caller's, or the network's.
const unreadBody = "cannot read request body"

func refusal(ctx huma.Context, status int, message string, causes []error) huma.StatusError {
	e := &modelmanager.Error{Code: codeOf(status), Detail: message}
	switch {
	case message == unreadBody:
		e.Code, e.Detail = modelmanager.CodeBadRequest, "the request's body broke off"
	case status == http.StatusUnsupportedMediaType && ctx != nil:
		e.Detail = fmt.Sprintf("the body's content type %q isn't one that this call takes; send JSON, with the header Content-Type: application/json",
			ctx.Header("Content-Type"))
	case status == http.StatusRequestEntityTooLarge && ctx != nil:
		e.Detail = fmt.Sprintf("the request's body is longer than %d bytes, the limit of this call", ctx.Operation().MaxBodyBytes)
	case len(causes) > 0:
		if status < 500 {
			e.Detail = "the request is not as this call wants it"
		}
		e.Detail += ": " + strings.Join(reasons(ctx, causes), "; ")
	}
	return Problem{problem.Of(e)}
}

// maxReasons bounds how many things one answer complains of.
const maxReasons = 20

// reasons says what is wrong where, with a suggestion for a name that nothing
// has.
func reasons(ctx huma.Context, causes []error) []string {
	var texts []string
	for _, cause := range causes {
		if cause == nil {
			continue
		}
		if len(texts) == maxReasons {
			return append(texts, fmt.Sprintf("and %d more", len(causes)-maxReasons))
		}
		var detail *huma.ErrorDetail
		if !errors.As(cause, &detail) || detail.Location == "" {
			texts = append(texts, cause.Error())
			continue
		}
		text := fmt.Sprintf("%.200s: %s", detail.Location, detail.Message)
		if names, name := siblings(ctx, detail.Location); !strings.HasSuffix(name, "]") && !slices.Contains(names, name) {
			if meant := spec.Nearest(name, names); meant != "" {
				text += fmt.Sprintf(" (did you mean %s?)", meant)
			}
		}
		texts = append(texts, text)
	}
	return texts
}

// siblings finds the names that a key of the body could have had, and the key.
func siblings(ctx huma.Context, location string) (names []string, key string) {
	rest, found := strings.CutPrefix(location, "body.")
	if !found || ctx == nil || ctx.Operation().RequestBody == nil {
		return nil, ""
	}
	content := ctx.Operation().RequestBody.Content["application/json"]
	schemas, _ := ctx.Operation().Metadata[schemasKey].(huma.Registry)
	if content == nil || schemas == nil {
		return nil, ""
	}
	schema := content.Schema
	for part := range strings.SplitSeq(rest, ".") {
		schema = resolved(schemas, schema)
		if schema == nil {
			return nil, ""
		}
		names, key = names[:0], part
		for name := range schema.Properties {
			names = append(names, name)
		}
		name, index, isItem := strings.Cut(part, "[")
		next := schema.Properties[name]
		if next = resolved(schemas, next); next != nil && isItem && index != "" {
			next = next.Items
		}
		schema = next
		if schema == nil && key != rest && !strings.HasSuffix(rest, "."+key) {
			return nil, ""
		}
	}
	slices.Sort(names)
	return names, key
}

func resolved(schemas huma.Registry, schema *huma.Schema) *huma.Schema {
	if schema != nil && schema.Ref != "" {
		return schemas.SchemaFromRef(schema.Ref)
	}
	return schema
}

func codeOf(status int) modelmanager.Code {
	switch {
	case status == http.StatusNotFound:
		return modelmanager.CodeNotFound
	case status == http.StatusRequestEntityTooLarge:
		return modelmanager.CodeTooLarge
	case status == http.StatusUnsupportedMediaType:
		return modelmanager.CodeUnsupportedMedia
	case status == 0 || status >= 500:
		return modelmanager.CodeInternal
	}
	return modelmanager.CodeBadRequest
}
