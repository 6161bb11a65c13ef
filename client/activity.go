package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"modelmanager.dev"
)

// Activity returns what runs now, on all servers.
func (c *Client) Activity(ctx context.Context) (modelmanager.Activity, error) {
	return c.activity(ctx, nil)
}

// ActivityWithin is Activity for who can't wait for other servers: what those
// don't say within this time is left out, and the answer says so.
func (c *Client) ActivityWithin(ctx context.Context, wait time.Duration) (modelmanager.Activity, error) {
	return c.activity(ctx, waiting(wait))
}

func (c *Client) activity(ctx context.Context, query url.Values) (modelmanager.Activity, error) {
	var activity modelmanager.Activity
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"v1", "activity"}, query: query}, &activity)
	return activity, err
}

// waiting asks that other servers be waited for so long at most.
func waiting(wait time.Duration) url.Values {
	return url.Values{"wait_ms": {strconv.FormatInt(wait.Milliseconds(), 10)}}
}

// ModelActivity returns what a model's versions did in the last hour, by minute.
func (c *Client) ModelActivity(ctx context.Context, model string) (modelmanager.ModelActivity, error) {
	return c.modelActivity(ctx, model, nil)
}

// ModelActivityWithin is ModelActivity for who can't wait for other servers, as
// ActivityWithin is.
func (c *Client) ModelActivityWithin(ctx context.Context, wait time.Duration, model string) (modelmanager.ModelActivity, error) {
	return c.modelActivity(ctx, model, waiting(wait))
}

func (c *Client) modelActivity(ctx context.Context, model string, query url.Values) (modelmanager.ModelActivity, error) {
	var activity modelmanager.ModelActivity
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"v1", "models", model, "activity"}, query: query}, &activity)
	return activity, err
}
