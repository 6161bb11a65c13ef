package client

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"modelmanager.dev"
)

// PredictWithin is Predict with a deadline that the server is told, in whole
// seconds: a model that sleeps is waited for so long, and no longer.
func (c *Client) PredictWithin(ctx context.Context, wait time.Duration, model string, version int, request modelmanager.PredictRequest) (modelmanager.PredictResponse, error) {
	var answer modelmanager.PredictResponse
	err := c.do(ctx, call{
		method: http.MethodPost, path: predictPath(model, version), body: request,
		header: http.Header{"Prefer": {fmt.Sprintf("wait=%d", max(1, int(wait.Seconds())))}},
	}, &answer)
	return answer, err
}
