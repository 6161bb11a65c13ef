package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"modelmanager.dev"
)

// ModelQuery narrows a list of models; its zero value lists all.
type ModelQuery struct {
	Text      string // words, all of which must occur
	Owner     string
	Labels    map[string]string
	Serve     modelmanager.Mode
	Health    modelmanager.HealthState
	Retired   bool // the retired ones, too
	Count     int  // count all that match, and name so many of their owners and labels; 0: don't
	Limit     int  // of a page; 0: the server's default
	PageToken string
}

// Models returns a page of models.
func (c *Client) Models(ctx context.Context, q ModelQuery) (modelmanager.ModelList, error) {
	query := paging(q.Limit, q.PageToken)
	set(query, "q", q.Text)
	set(query, "owner", q.Owner)
	set(query, "serve", string(q.Serve))
	set(query, "health", string(q.Health))
	if q.Count > 0 {
		query.Set("count", strconv.Itoa(q.Count))
	}
	if q.Retired {
		query.Set("retired", "true")
	}
	for name, value := range q.Labels {
		query.Add("label", name+"="+value)
	}
	var list modelmanager.ModelList
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"v1", "models"}, query: query}, &list)
	return list, err
}

// Model returns one model with its live version's spec.
func (c *Client) Model(ctx context.Context, model string) (modelmanager.ModelInfo, error) {
	return c.model(ctx, model, nil)
}

// ModelWithin is Model for who can't wait for what other servers have seen of a
// canary, as ActivityWithin is.
func (c *Client) ModelWithin(ctx context.Context, wait time.Duration, model string) (modelmanager.ModelInfo, error) {
	return c.model(ctx, model, waiting(wait))
}

func (c *Client) model(ctx context.Context, model string, query url.Values) (modelmanager.ModelInfo, error) {
	var info modelmanager.ModelInfo
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"v1", "models", model}, query: query}, &info)
	return info, err
}

// Retire ends a model: it answers no more, its versions are kept.
func (c *Client) Retire(ctx context.Context, model, reason string) error {
	query := url.Values{}
	set(query, "reason", reason)
	return c.do(ctx, call{method: http.MethodDelete, path: []string{"v1", "models", model}, query: query}, nil)
}

// RetireFor is Retire for a repository's pipeline: commit asks for it, and if
// the setting of traffic in force isn't the one that was seen, it fails with
// CodeConflict.
func (c *Client) RetireFor(ctx context.Context, model, reason, commit string, seen time.Time) error {
	query := url.Values{"seen": {seen.UTC().Format(time.RFC3339Nano)}}
	set(query, "reason", reason)
	set(query, "commit", commit)
	return c.do(ctx, call{method: http.MethodDelete, path: []string{"v1", "models", model}, query: query}, nil)
}

// RollOut gives a published version the traffic that its spec asks for.
func (c *Client) RollOut(ctx context.Context, model string, version int, request modelmanager.RolloutRequest) (modelmanager.Traffic, error) {
	var traffic modelmanager.Traffic
	err := c.do(ctx, call{
		method: http.MethodPost, path: []string{"v1", "models", model, "versions", strconv.Itoa(version), "rollout"}, body: request,
	}, &traffic)
	return traffic, err
}

// Versions returns a page of a model's versions, newest first.
func (c *Client) Versions(ctx context.Context, model string, limit int, pageToken string) (modelmanager.VersionList, error) {
	var list modelmanager.VersionList
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"v1", "models", model, "versions"}, query: paging(limit, pageToken)}, &list)
	return list, err
}

// Version returns one version with its spec.
func (c *Client) Version(ctx context.Context, model string, version int) (modelmanager.VersionInfo, error) {
	var info modelmanager.VersionInfo
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"v1", "models", model, "versions", strconv.Itoa(version)}}, &info)
	return info, err
}

// Publish publishes a version. The same key twice is one publication.
func (c *Client) Publish(ctx context.Context, model string, request modelmanager.PublishRequest, idempotencyKey string) (modelmanager.PublishResult, error) {
	var result modelmanager.PublishResult
	err := c.do(ctx, call{
		method: http.MethodPost, path: []string{"v1", "models", model, "versions"},
		header: idempotency(idempotencyKey), body: request,
	}, &result)
	return result, err
}

// Diff compares two versions.
func (c *Client) Diff(ctx context.Context, model string, from, to int) (modelmanager.Diff, error) {
	var diff modelmanager.Diff
	query := url.Values{"from": {strconv.Itoa(from)}, "to": {strconv.Itoa(to)}}
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"v1", "models", model, "diff"}, query: query}, &diff)
	return diff, err
}

// Traffic returns a model's setting of traffic, and who answers while it isn't
// in force yet.
func (c *Client) Traffic(ctx context.Context, model string) (modelmanager.TrafficInfo, error) {
	var traffic modelmanager.TrafficInfo
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"v1", "models", model, "traffic"}}, &traffic)
	return traffic, err
}

// SetTraffic sets a model's traffic: its versions, shadow and reason.
func (c *Client) SetTraffic(ctx context.Context, model string, traffic modelmanager.Traffic) (modelmanager.TrafficInfo, error) {
	return c.setTraffic(ctx, model, traffic)
}

// SetTrafficAfter is SetTraffic for who acts on what they saw: it fails with
// CodeConflict if a setting was made since the one that was made at the given time.
func (c *Client) SetTrafficAfter(ctx context.Context, model string, seen time.Time, traffic modelmanager.Traffic) (modelmanager.TrafficInfo, error) {
	return c.setTraffic(ctx, model, struct {
		modelmanager.Traffic
		Seen time.Time `json:"seen"`
	}{traffic, seen})
}

func (c *Client) setTraffic(ctx context.Context, model string, body any) (modelmanager.TrafficInfo, error) {
	var set modelmanager.TrafficInfo
	err := c.do(ctx, call{method: http.MethodPut, path: []string{"v1", "models", model, "traffic"}, body: body}, &set)
	return set, err
}

// TrafficHistory returns the last settings of a model's traffic, newest first.
func (c *Client) TrafficHistory(ctx context.Context, model string) (modelmanager.TrafficHistory, error) {
	var history modelmanager.TrafficHistory
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"v1", "models", model, "traffic", "history"}}, &history)
	return history, err
}

// Rollback returns to the setting before; called again, to the one before that.
func (c *Client) Rollback(ctx context.Context, model, reason string) (modelmanager.TrafficInfo, error) {
	return c.rollback(ctx, model, modelmanager.RollbackRequest{Reason: reason})
}

// RollbackAfter is Rollback for who acts on what they saw: it fails with
// CodeConflict if a setting was made since the one that was made at the given time.
func (c *Client) RollbackAfter(ctx context.Context, model string, seen time.Time, reason string) (modelmanager.TrafficInfo, error) {
	return c.rollback(ctx, model, modelmanager.RollbackRequest{Reason: reason, Seen: &seen})
}

func (c *Client) rollback(ctx context.Context, model string, request modelmanager.RollbackRequest) (modelmanager.TrafficInfo, error) {
	var traffic modelmanager.TrafficInfo
	err := c.do(ctx, call{
		method: http.MethodPost, path: []string{"v1", "models", model, "rollback"}, body: request,
	}, &traffic)
	return traffic, err
}

// Predict asks a model for predictions: a version (0: by traffic).
func (c *Client) Predict(ctx context.Context, model string, version int, request modelmanager.PredictRequest) (modelmanager.PredictResponse, error) {
	var answer modelmanager.PredictResponse
	err := c.do(ctx, call{method: http.MethodPost, path: predictPath(model, version), body: request}, &answer)
	return answer, err
}

// CSVOptions says how a CSV of rows is read, as far as that isn't to be found
// out, and whether rows without predictions fail the call.
type CSVOptions struct {
	Input   modelmanager.JobInput
	Partial bool
}

func (o CSVOptions) query() url.Values {
	query := url.Values{}
	set(query, "delimiter", o.Input.Delimiter)
	set(query, "encoding", o.Input.Encoding)
	set(query, "decimal", o.Input.Decimal)
	set(query, "dates", o.Input.Dates)
	set(query, "timezone", o.Input.Timezone)
	if o.Input.HeaderRow > 0 {
		query.Set("header_row", strconv.Itoa(o.Input.HeaderRow))
	}
	for _, null := range o.Input.Null {
		query.Add("null", null)
	}
	if o.Partial {
		query.Set("on_error", "partial")
	}
	return query
}

// PredictCSV sends a CSV, and returns it with the predictions as further
// columns, and how it was read. The caller closes it.
func (c *Client) PredictCSV(ctx context.Context, model string, version int, rows io.Reader, o CSVOptions) (io.ReadCloser, modelmanager.JobInput, error) {
	response, err := c.sendCSV(ctx, model, version, rows, o, "text/csv")
	if err != nil {
		return nil, modelmanager.JobInput{}, err
	}
	return response.Body, readAs(response), nil
}

// PredictCSVRows is PredictCSV with the answer that Predict gives.
func (c *Client) PredictCSVRows(ctx context.Context, model string, version int, rows io.Reader, o CSVOptions) (modelmanager.PredictResponse, modelmanager.JobInput, error) {
	var answer modelmanager.PredictResponse
	response, err := c.sendCSV(ctx, model, version, rows, o, "application/json")
	if err != nil {
		return answer, modelmanager.JobInput{}, err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return answer, modelmanager.JobInput{}, fmt.Errorf("reading the predictions of %s: %w", model, err)
	}
	return answer, readAs(response), nil
}

func (c *Client) sendCSV(ctx context.Context, model string, version int, rows io.Reader, o CSVOptions, accept string) (*http.Response, error) {
	return c.send(ctx, call{
		method: http.MethodPost, path: predictPath(model, version), query: o.query(),
		header: http.Header{"Content-Type": {"text/csv"}, "Accept": {accept}}, stream: rows,
	})
}

// readAs is how a CSV was read, as its answer says.
func readAs(response *http.Response) modelmanager.JobInput {
	var input modelmanager.JobInput
	if json.Unmarshal([]byte(response.Header.Get("Read-As")), &input) != nil {
		return modelmanager.JobInput{}
	}
	return input
}

func predictPath(model string, version int) []string {
	if version == 0 {
		return []string{"v1", "models", model, "predict"}
	}
	return []string{"v1", "models", model, "versions", strconv.Itoa(version), "predict"}
}

// Logs returns the last lines that a version's replicas have written.
func (c *Client) Logs(ctx context.Context, model string, version, lines int) (io.ReadCloser, error) {
	query := url.Values{}
	if lines > 0 {
		query.Set("lines", strconv.Itoa(lines))
	}
	response, err := c.send(ctx, call{
		method: http.MethodGet, path: []string{"v1", "models", model, "versions", strconv.Itoa(version), "logs"}, query: query,
	})
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// Upload streams a file in; it exists once this returns.
func (c *Client) Upload(ctx context.Context, name string, data io.Reader) (modelmanager.Upload, error) {
	var upload modelmanager.Upload
	query := url.Values{}
	set(query, "name", name)
	err := c.do(ctx, call{
		method: http.MethodPost, path: []string{"v1", "uploads"}, query: query,
		header: http.Header{"Content-Type": {"application/octet-stream"}}, stream: data,
	}, &upload)
	return upload, err
}

// Limits says what the server lets a call ask for.
func (c *Client) Limits(ctx context.Context) (modelmanager.Limits, error) {
	var limits modelmanager.Limits
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"v1", "limits"}}, &limits)
	return limits, err
}

// Info says what the server is, and what publishers bring to it.
func (c *Client) Info(ctx context.Context) (modelmanager.ServerInfo, error) {
	var info modelmanager.ServerInfo
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"v1", "version"}}, &info)
	return info, err
}

// ServerVersion says what the server is.
func (c *Client) ServerVersion(ctx context.Context) (json.RawMessage, error) {
	var version json.RawMessage
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"v1", "version"}}, &version)
	return version, err
}

func paging(limit int, token string) url.Values {
	query := url.Values{}
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	set(query, "page_token", token)
	return query
}

func set(query url.Values, name, value string) {
	if value != "" {
		query.Set(name, value)
	}
}

func idempotency(key string) http.Header {
	if key == "" {
		return nil
	}
	return http.Header{"Idempotency-Key": {key}}
}
