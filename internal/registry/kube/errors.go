package kube

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
)

// failedIn gives an error of a call its code, with what ended the call's context.
func failedIn(ctx context.Context, doing string, err error) error {
	switch {
	case ctx.Err() == nil:
		return failed(doing, err)
	case errors.Is(context.Cause(ctx), errTimeout):
		return unavailable(doing, errTimeout, 0)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return modelmanager.Errorf(modelmanager.CodeDeadlineExceeded, "%s: %w", doing, ctx.Err())
	default:
		return modelmanager.Errorf(modelmanager.CodeCancelled, "%s: %w", doing, ctx.Err())
	}
}

// failed gives an error of the Kubernetes API its code.
func failed(doing string, err error) error {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return unavailable(doing, err, 0) // no answer
	}
	code := modelmanager.CodeUnavailable
	switch status.Status().Code {
	case http.StatusConflict:
		code = modelmanager.CodeConflict
	case http.StatusRequestEntityTooLarge:
		code = modelmanager.CodeTooLarge
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		code = modelmanager.CodeBadRequest
	case http.StatusNotFound:
		return missing(doing, err)
	case http.StatusUnauthorized, http.StatusForbidden:
		return modelmanager.Errorf(modelmanager.CodeInternal,
			"%s: the Kubernetes API refuses the server's own account, which needs the rights of the deployment's manifests: %w", doing, err)
	}
	if strings.Contains(err.Error(), "etcdserver: request is too large") {
		code = modelmanager.CodeTooLarge
	}
	if code == modelmanager.CodeUnavailable {
		seconds, _ := apierrors.SuggestsClientDelay(err)
		return unavailable(doing, err, time.Duration(seconds)*time.Second)
	}
	return modelmanager.Errorf(code, "%s: %w", doing, err)
}

// missing is an answer of 404 to a call that doesn't ask for one object: the
// namespace or the kind is missing.
func missing(doing string, err error) error {
	return modelmanager.Errorf(modelmanager.CodeUnavailable,
		"%s: the cluster lacks the namespace or the kinds of Model Manager; apply the deployment's manifests: %w", doing, err)
}

// lacksObject tells an answer that one object doesn't exist from one that its
// namespace or kind doesn't: only the former is about the object.
func lacksObject(err error, name string) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || apierrors.IsUnexpectedServerError(err) || !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	return details != nil && details.Name == name && (details.Group == group || details.Group == "")
}

func unavailable(doing string, err error, after time.Duration) error {
	e := modelmanager.Errorf(modelmanager.CodeUnavailable, "%s: the Kubernetes API can't be used now: %w", doing, err)
	e.RetryAfter = max(after, time.Second)
	return e
}

func noModel(name string) error {
	return modelmanager.Errorf(modelmanager.CodeNotFound, "there is no model %.80q", name)
}

func changedMeanwhile(name string) (registry.Revision, error) {
	return registry.None, modelmanager.Errorf(modelmanager.CodeConflict, "writing model %s: it was changed meanwhile", name)
}
