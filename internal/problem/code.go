package problem

import (
	"net/http"

	"modelmanager.dev"
)

// meaning is how a code shows itself over HTTP.
type meaning struct {
	status int
	title  string
}

func lookUp(code modelmanager.Code) meaning {
	switch code {
	case modelmanager.CodeBadRequest:
		return meaning{http.StatusBadRequest, "The request can't be understood"}
	case modelmanager.CodeInvalidSpec:
		return meaning{http.StatusUnprocessableEntity, "The spec is invalid"}
	case modelmanager.CodeInvalidRows:
		return meaning{http.StatusUnprocessableEntity, "Some rows are invalid"}
	case modelmanager.CodeInvalidInput:
		return meaning{http.StatusUnprocessableEntity, "The input can't be read"}
	case modelmanager.CodeMissingColumn:
		return meaning{http.StatusUnprocessableEntity, "The input lacks a column"}
	case modelmanager.CodeInvalidPredictions:
		return meaning{http.StatusBadGateway, "The model's answer breaks its own spec"}
	case modelmanager.CodeModelError:
		return meaning{http.StatusBadGateway, "The model failed"}
	case modelmanager.CodeRowDependent:
		return meaning{http.StatusUnprocessableEntity, "Predictions depend on other rows"}
	case modelmanager.CodeUnauthenticated:
		return meaning{http.StatusUnauthorized, "Not authenticated"}
	case modelmanager.CodeForbidden:
		return meaning{http.StatusForbidden, "Not allowed"}
	case modelmanager.CodeNotFound:
		return meaning{http.StatusNotFound, "Not found"}
	case modelmanager.CodeRetired:
		return meaning{http.StatusGone, "The model is retired"}
	case modelmanager.CodeNameTaken:
		return meaning{http.StatusConflict, "The name is taken"}
	case modelmanager.CodeConflict:
		return meaning{http.StatusConflict, "Conflict"}
	case modelmanager.CodeManagedElsewhere:
		return meaning{http.StatusConflict, "Managed elsewhere"}
	case modelmanager.CodeTooLarge:
		return meaning{http.StatusRequestEntityTooLarge, "The request is too large"}
	case modelmanager.CodeUnsupportedMedia:
		return meaning{http.StatusUnsupportedMediaType, "The content type is not supported"}
	case modelmanager.CodeNotServed:
		return meaning{http.StatusConflict, "The model doesn't serve this mode"}
	case modelmanager.CodeTooManyRequests:
		return meaning{http.StatusTooManyRequests, "Too many requests"}
	case modelmanager.CodeCancelled:
		return meaning{StatusClientClosed, "Cancelled"}
	case modelmanager.CodeRejectedRows:
		return meaning{http.StatusUnprocessableEntity, "Too many rows were rejected"}
	case modelmanager.CodeInputChanged:
		return meaning{http.StatusConflict, "The input changed"}
	case modelmanager.CodeStorage:
		return meaning{http.StatusBadGateway, "Object storage failed"}
	case modelmanager.CodeNeedsKubernetes:
		return meaning{http.StatusUnprocessableEntity, "The model needs Kubernetes"}
	case modelmanager.CodeUnavailable:
		return meaning{http.StatusServiceUnavailable, "Not available yet"}
	case modelmanager.CodeDeadlineExceeded:
		return meaning{http.StatusGatewayTimeout, "The deadline has passed"}
	}
	return meaning{http.StatusInternalServerError, "Internal error"}
}

// Status returns the HTTP status of a code.
func Status(code modelmanager.Code) int { return lookUp(code).status }

// Title returns a code's short, unchanging title.
func Title(code modelmanager.Code) string { return lookUp(code).title }
