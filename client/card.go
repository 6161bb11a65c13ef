package client

import (
	"context"
	"io"
	"net/http"
	"strconv"
)

// Card returns a version's card, as Markdown. CodeNotFound says that it has none.
func (c *Client) Card(ctx context.Context, model string, version int) ([]byte, error) {
	response, err := c.send(ctx, call{
		method: http.MethodGet, path: []string{"v1", "models", model, "versions", strconv.Itoa(version), "card"},
	})
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(response.Body)
}
