// Package problem writes errors as RFC 9457 problem details. It is the one
// table from codes to HTTP statuses: agents, the gateway and the API share it.
package problem

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"modelmanager.dev"
)

// ContentType is the media type of a problem.
const ContentType = "application/problem+json"

// TypePrefix is what a problem's type begins with; its code follows.
const TypePrefix = "https://modelmanager.dev/problems/"

// StatusClientClosed is the status of a call whose client went away before
// the answer; nobody sees it but logs and metrics.
const StatusClientClosed = 499

// Problem is the body of every answer that is an error.
type Problem struct {
	Type   string                  `json:"type"`
	Title  string                  `json:"title"`
	Status int                     `json:"status"`
	Code   modelmanager.Code       `json:"code"`
	Detail string                  `json:"detail"`
	Errors []modelmanager.RowError `json:"errors,omitempty"`
}

// Of returns the problem that tells of err. An error without a code is an
// internal one: its text is for logs, and is not shown.
func Of(err error) Problem {
	var e *modelmanager.Error
	if !errors.As(err, &e) {
		return Problem{
			Type:   TypePrefix + string(modelmanager.CodeInternal),
			Title:  Title(modelmanager.CodeInternal),
			Status: http.StatusInternalServerError,
			Code:   modelmanager.CodeInternal,
			Detail: "something went wrong inside Model Manager; its logs say what",
		}
	}
	return Problem{
		Type:   TypePrefix + string(e.Code),
		Title:  Title(e.Code),
		Status: Status(e.Code),
		Code:   e.Code,
		Detail: e.Detail,
		Errors: e.Rows,
	}
}

// Error returns the error that a problem tells of: the inverse of Of.
func (p Problem) Error() *modelmanager.Error {
	return &modelmanager.Error{Code: p.Code, Detail: p.Detail, Rows: p.Errors}
}

// Write answers with the problem that tells of err, and with Retry-After where
// the error says when to come back.
func Write(w http.ResponseWriter, err error) {
	p := Of(err)
	body, marshalErr := json.Marshal(p)
	if marshalErr != nil {
		p = Of(marshalErr)
		body, _ = json.Marshal(p)
	}
	header := w.Header()
	header.Set("Content-Type", ContentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	if after := RetryAfter(err); after != "" {
		header.Set("Retry-After", after)
	}
	w.WriteHeader(p.Status)
	w.Write(body)
}

// RetryAfter returns the value of the Retry-After header for err, in whole
// seconds, at least one; "" where err doesn't ask for another try.
func RetryAfter(err error) string {
	var e *modelmanager.Error
	if !errors.As(err, &e) {
		return ""
	}
	if e.RetryAfter <= 0 && e.Code != modelmanager.CodeUnavailable && e.Code != modelmanager.CodeTooManyRequests {
		return ""
	}
	seconds := math.Ceil(float64(e.RetryAfter) / float64(time.Second))
	return strconv.Itoa(int(max(1, seconds)))
}
