package kube

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"modelmanager.dev"
)

var errNoLog = errors.New("its node no longer has it")

// unreachable gives an error of the API server a code and what was being done.
func unreachable(doing string, err error) error {
	if err == nil {
		return nil
	}
	code, detail := modelmanager.CodeUnavailable, ""
	switch {
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
	case apierrors.IsForbidden(err) && !isRefusedByQuota(err):
		code, detail = modelmanager.CodeInternal, "; the server's role in the cluster lacks a right (see deploy/)"
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		code = modelmanager.CodeInternal
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		code = modelmanager.CodeConflict
	}
	wrapped := modelmanager.Errorf(code, "%s: %w%s", doing, err, detail)
	if code == modelmanager.CodeUnavailable {
		wrapped.RetryAfter = time.Second
		if after, ok := apierrors.SuggestsClientDelay(err); ok && after > 0 {
			wrapped.RetryAfter = time.Duration(after) * time.Second
		}
	}
	return wrapped
}

// isRefusedByQuota tells whether an object was refused since the namespace has
// too many.
func isRefusedByQuota(err error) bool {
	return apierrors.IsForbidden(err) && quotaExceeded.MatchString(err.Error())
}
