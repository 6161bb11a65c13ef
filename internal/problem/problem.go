// Package problem writes errors as HTTP answers: RFC 9457 problem details with
// a code from the closed set.
package problem

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"

	"modelmanager.dev"
)

// ContentType is the media type of a problem.
const ContentType = "application/problem+json"

// Problem is the body of an error answer.
type Problem struct {
	Type   string                  `json:"type"` // a URI that names the code
	Title  string                  `json:"title"`
	Status int                     `json:"status"`
	Code   modelmanager.Code       `json:"code"`
	Detail string                  `json:"detail"`
	Errors []modelmanager.RowError `json:"errors,omitempty"`
}

// kind is what a code looks like in HTTP.
type kind struct {
	status int
	title  string
}

var kinds = map[modelmanager.Code]kind{
	modelmanager.CodeBadRequest:         {http.StatusBadRequest, "The request can't be read"},
	modelmanager.CodeInvalidSpec:        {http.StatusUnprocessableEntity, "The spec is invalid"},
	modelmanager.CodeInvalidRows:        {http.StatusUnprocessableEntity, "Rows are invalid"},
	modelmanager.CodeInvalidInput:       {http.StatusUnprocessableEntity, "The input can't be read"},
	modelmanager.CodeMissingColumn:      {http.StatusUnprocessableEntity, "The input lacks a column"},
	modelmanager.CodeInvalidPredictions: {http.StatusBadGateway, "The model's answer is invalid"},
	modelmanager.CodeModelError:         {http.StatusBadGateway, "The model failed"},
	modelmanager.CodeRowDependent:       {http.StatusUnprocessableEntity, "Predictions depend on other rows"},
	modelmanager.CodeUnauthenticated:    {http.StatusUnauthorized, "Who are you?"},
	modelmanager.CodeForbidden:          {http.StatusForbidden, "Not allowed"},
	modelmanager.CodeNotFound:           {http.StatusNotFound, "Not found"},
	modelmanager.CodeRetired:            {http.StatusGone, "The model is retired"},
	modelmanager.CodeNameTaken:          {http.StatusConflict, "The name is taken"},
	modelmanager.CodeConflict:           {http.StatusConflict, "Conflict"},
	modelmanager.CodeManagedElsewhere:   {http.StatusConflict, "Managed elsewhere"},
	modelmanager.CodeTooLarge:           {http.StatusRequestEntityTooLarge, "Too large"},
	modelmanager.CodeUnsupportedMedia:   {http.StatusUnsupportedMediaType, "Unsupported content type"},
	modelmanager.CodeNotServed:          {http.StatusConflict, "The model doesn't serve this"},
	modelmanager.CodeTooManyRequests:    {http.StatusTooManyRequests, "Too many requests"},
	modelmanager.CodeCancelled:          {http.StatusConflict, "Cancelled"},
	modelmanager.CodeRejectedRows:       {http.StatusUnprocessableEntity, "Too many rows were rejected"},
	modelmanager.CodeInputChanged:       {http.StatusConflict, "The input changed"},
	modelmanager.CodeStorage:            {http.StatusBadGateway, "Storage failed"},
	modelmanager.CodeNeedsKubernetes:    {http.StatusConflict, "The model needs Kubernetes"},
	modelmanager.CodeUnavailable:        {http.StatusServiceUnavailable, "Not available now"},
	modelmanager.CodeDeadlineExceeded:   {http.StatusGatewayTimeout, "The deadline has passed"},
	modelmanager.CodeInternal:           {http.StatusInternalServerError, "Model Manager failed"},
}

// Codes returns the closed set, in the order of the alphabet.
func Codes() []modelmanager.Code { return slices.Sorted(maps.Keys(kinds)) }

// Title returns what a code says to people.
func Title(code modelmanager.Code) string { return kinds[code].title }

// Status returns the HTTP status of a code.
func Status(code modelmanager.Code) int {
	if kind, ok := kinds[code]; ok {
		return kind.status
	}
	return http.StatusInternalServerError
}

// Of describes an error. The text of an error without a code is not shown:
// it was not written for callers.
func Of(err error) Problem {
	var e *modelmanager.Error
	switch {
	case errors.As(err, &e):
	case errors.Is(err, context.DeadlineExceeded):
		e = modelmanager.Errorf(modelmanager.CodeDeadlineExceeded, "the deadline passed before the answer was there")
	case errors.Is(err, context.Canceled):
		e = modelmanager.Errorf(modelmanager.CodeCancelled, "the caller went away")
	default:
		e = modelmanager.Errorf(modelmanager.CodeInternal, "Model Manager failed; the server's log says why")
	}
	return Problem{
		Type:   "https://modelmanager.dev/problems/" + string(e.Code),
		Title:  kinds[e.Code].title,
		Status: Status(e.Code),
		Code:   e.Code,
		Detail: detail(err, e),
		Errors: e.Rows,
	}
}

// detail keeps the context that wrapping added around a coded error.
func detail(err error, coded *modelmanager.Error) string {
	var inner *modelmanager.Error
	if errors.As(err, &inner) && inner == coded {
		return err.Error()
	}
	return coded.Detail
}

// Write answers a request with an error.
func Write(w http.ResponseWriter, err error) {
	WriteStatus(w, Of(err).Status, err)
}

// WriteStatus answers with an error and another status than its code's, where
// HTTP has one that says more: 405, for a method that a path doesn't take.
func WriteStatus(w http.ResponseWriter, status int, err error) {
	p := Of(err)
	p.Status = status
	header := w.Header()
	header.Set("Content-Type", ContentType)
	header.Set("X-Content-Type-Options", "nosniff")
	if seconds := RetryAfter(err); seconds > 0 {
		header.Set("Retry-After", strconv.Itoa(seconds))
	}
	if p.Status == http.StatusUnauthorized && header.Get("WWW-Authenticate") == "" {
		header.Set("WWW-Authenticate", "Bearer")
	}
	w.WriteHeader(p.Status)
	// The caller may be gone; there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(p)
}

// RetryAfter returns the whole seconds after which to try again; 0 if trying
// again is no use. An error of a code that promises a time has one second if
// it doesn't say.
func RetryAfter(err error) int {
	var e *modelmanager.Error
	if !errors.As(err, &e) {
		return 0
	}
	if e.RetryAfter <= 0 {
		if e.Code == modelmanager.CodeUnavailable || e.Code == modelmanager.CodeTooManyRequests {
			return 1
		}
		return 0
	}
	return int(math.Ceil(e.RetryAfter.Seconds()))
}
