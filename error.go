package modelmanager

import (
	"errors"
	"fmt"
	"time"
)

// Code says what kind of error it is; the set is closed, and is part of the API.
type Code string

// Every code there is.
const (
	CodeBadRequest         Code = "bad_request"
	CodeInvalidSpec        Code = "invalid_spec"
	CodeInvalidRows        Code = "invalid_rows"
	CodeInvalidInput       Code = "invalid_input"       // a file that can't be read as what it claims to be
	CodeMissingColumn      Code = "missing_column"      // a file lacks a feature's column
	CodeInvalidPredictions Code = "invalid_predictions" // the worker's answer breaks the spec
	CodeModelError         Code = "model_error"         // the model's own code failed
	CodeRowDependent       Code = "row_dependent"       // predictions change with the rows beside them
	CodeUnauthenticated    Code = "unauthenticated"
	CodeForbidden          Code = "forbidden"
	CodeNotFound           Code = "not_found"
	CodeRetired            Code = "retired"
	CodeNameTaken          Code = "name_taken" // the model belongs to another repository
	CodeConflict           Code = "conflict"
	CodeManagedElsewhere   Code = "managed_elsewhere"
	CodeTooLarge           Code = "too_large"
	CodeUnsupportedMedia   Code = "unsupported_media_type"
	CodeNotServed          Code = "not_served" // the model doesn't serve this mode
	CodeTooManyRequests    Code = "too_many_requests"
	CodeCancelled          Code = "cancelled"
	CodeRejectedRows       Code = "rejected_rows"    // a job passed its max_rejected
	CodeInputChanged       Code = "input_changed"    // a job's input changed while it ran
	CodeStorage            Code = "storage"          // object storage failed
	CodeNeedsKubernetes    Code = "needs_kubernetes" // the model needs an image
	CodeUnavailable        Code = "unavailable"      // not now; RetryAfter says when
	CodeDeadlineExceeded   Code = "deadline_exceeded"
	CodeInternal           Code = "internal"
)

// RowError says what is wrong with one row, and in which feature, if in one.
type RowError struct {
	Row     int64  `json:"row"` // 0 is the first row of the request; 1 the first data row of a file
	Feature string `json:"feature,omitempty"`
	Message string `json:"message"`
}

// Error is an error that people and programs can act on. Detail says what was
// being done to what, what went wrong, and what the reader can do about it.
type Error struct {
	Code       Code
	Detail     string
	Rows       []RowError
	RetryAfter time.Duration // of CodeUnavailable and CodeTooManyRequests
	Err        error         // what caused it, if anything; not shown to callers
}

// Error returns the detail.
func (e *Error) Error() string { return e.Detail }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error; a %w in the format becomes its cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Detail: err.Error(), Err: errors.Unwrap(err)}
}

// CodeOf returns an error's code: CodeInternal for one that has none, "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}
