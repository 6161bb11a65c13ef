package serve

import (
	"bytes"
	"context"
	"net/http"

	"modelmanager.dev"
)

func (h *Handler) answerCSV(ctx context.Context, r *http.Request, body []byte, answer *bytes.Buffer) error {
	return modelmanager.Errorf(modelmanager.CodeUnsupportedMedia, "text/csv")
}
