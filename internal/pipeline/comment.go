package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"modelmanager.dev"
)

// commentMarker begins the comment that is ours; it can't be seen.
const commentMarker = "<!-- modelmanager.dev: the report of mm validate -->\n"

// Comments are those of one pull request of GitHub, or merge request of GitLab.
type Comments struct {
	// list is where comments are listed and made; one is where a comment is, by id.
	list   string
	one    func(id int64) string
	change string // the method that changes one
	header http.Header
}

// pullRef is the branch of a pull request, as GitHub names it for its runs.
var pullRef = regexp.MustCompile(`^refs/pull/([0-9]+)/`)

// CommentsOf finds the pull request that a run of GitHub Actions or GitLab CI is
// for, by the variables that those set: getenv has them. GITHUB_TOKEN (or
// GH_TOKEN), and MM_GITLAB_TOKEN, may comment.
//
// Errors: CodeBadRequest if it is no run of theirs, or of no pull request;
// CodeUnauthenticated without a token.
func CommentsOf(getenv func(string) string) (*Comments, error) {
	header := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {"model-manager"}}
	switch {
	case getenv("GITHUB_REPOSITORY") != "":
		number := pullRequestNumber(getenv)
		if number == 0 {
			return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "commenting: this run is for no pull request (GITHUB_REF, GITHUB_EVENT_PATH)")
		}
		token := getenv("GITHUB_TOKEN")
		if token == "" {
			token = getenv("GH_TOKEN")
		}
		if token == "" {
			return nil, modelmanager.Errorf(modelmanager.CodeUnauthenticated, "commenting: GITHUB_TOKEN isn't set; give the step GITHUB_TOKEN: ${{ github.token }}")
		}
		header.Set("Authorization", "Bearer "+token)
		header.Set("Accept", "application/vnd.github+json")
		api := strings.TrimSuffix(getenv("GITHUB_API_URL"), "/")
		if api == "" {
			api = "https://api.github.com"
		}
		issues := api + "/repos/" + getenv("GITHUB_REPOSITORY") + "/issues"
		return &Comments{
			list: fmt.Sprintf("%s/%d/comments", issues, number), change: http.MethodPatch, header: header,
			one: func(id int64) string { return fmt.Sprintf("%s/comments/%d", issues, id) },
		}, nil
	case getenv("CI_API_V4_URL") != "":
		number := getenv("CI_MERGE_REQUEST_IID")
		if number == "" {
			return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "commenting: this pipeline is for no merge request (CI_MERGE_REQUEST_IID)")
		}
		token := getenv("MM_GITLAB_TOKEN")
		if token == "" {
			return nil, modelmanager.Errorf(modelmanager.CodeUnauthenticated, "commenting: MM_GITLAB_TOKEN isn't set; make a project access token with the right api, and a variable of it")
		}
		header.Set("PRIVATE-TOKEN", token)
		notes := fmt.Sprintf("%s/projects/%s/merge_requests/%s/notes", strings.TrimSuffix(getenv("CI_API_V4_URL"), "/"), url.PathEscape(getenv("CI_PROJECT_ID")), url.PathEscape(number))
		return &Comments{
			list: notes, change: http.MethodPut, header: header,
			one: func(id int64) string { return fmt.Sprintf("%s/%d", notes, id) },
		}, nil
	}
	return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "commenting: this is neither GitHub Actions nor GitLab CI")
}

// pullRequestNumber is the pull request of a run of GitHub's; 0 if it has none.
func pullRequestNumber(getenv func(string) string) int {
	if match := pullRef.FindStringSubmatch(getenv("GITHUB_REF")); match != nil {
		number, _ := strconv.Atoi(match[1])
		return number
	}
	var event struct {
		PullRequest struct {
			Number int `json:"number"`
		} `json:"pull_request"`
	}
	if data, err := os.ReadFile(getenv("GITHUB_EVENT_PATH")); err == nil && json.Unmarshal(data, &event) == nil {
		return event.PullRequest.Number
	}
	return 0
}

// comment is one, as far as it counts here.
type comment struct {
	ID   int64  `json:"id,omitempty"`
	Body string `json:"body"`
}

// Put makes a report the pull request's comment: the one that is there is
// changed, and one is made if there is none. Of several, such as those of two runs
// at the same time, the oldest stays.
//
// Errors: CodeForbidden where the token may not comment, as in the runs of a fork.
func (c *Comments) Put(ctx context.Context, report string) error {
	body := comment{Body: commentMarker + report}
	ours, err := c.ours(ctx)
	if err == nil && len(ours) == 0 {
		if err = c.call(ctx, http.MethodPost, c.list, body, nil); err == nil {
			ours, err = c.ours(ctx) // another run may have made one at the same time
		}
	}
	if err != nil || len(ours) == 0 {
		return err
	}
	if ours[0].Body != body.Body {
		if err := c.call(ctx, c.change, c.one(ours[0].ID), body, nil); err != nil {
			return err
		}
	}
	for _, double := range ours[1:] {
		if err := c.call(ctx, http.MethodDelete, c.one(double.ID), nil, nil); err != nil && modelmanager.CodeOf(err) != modelmanager.CodeNotFound {
			return err
		}
	}
	return nil
}

// ours are the comments that mm has made, the oldest first.
func (c *Comments) ours(ctx context.Context) ([]comment, error) {
	const size = 100
	var ours []comment
	for page := 1; ; page++ {
		var found []comment
		if err := c.call(ctx, http.MethodGet, fmt.Sprintf("%s?per_page=%d&page=%d&sort=asc&order_by=created_at", c.list, size, page), nil, &found); err != nil {
			return nil, err
		}
		for _, one := range found {
			if strings.HasPrefix(strings.ReplaceAll(one.Body, "\r\n", "\n"), commentMarker) {
				ours = append(ours, one)
			}
		}
		if len(found) < size {
			return ours, nil
		}
	}
}

// commentTimeout bounds one call.
const commentTimeout = time.Minute

func (c *Comments) call(ctx context.Context, method, address string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, commentTimeout)
	defer cancel()
	var data []byte
	if in != nil {
		var err error
		if data, err = json.Marshal(in); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(data))
	if err != nil {
		return err
	}
	request.Header = c.header.Clone()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		var said *url.Error
		if errors.As(err, &said) {
			err = said.Err
		}
		return modelmanager.Errorf(modelmanager.CodeUnavailable, "commenting: %s can't be reached: %w", request.URL.Host, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	if err != nil {
		return modelmanager.Errorf(modelmanager.CodeUnavailable, "commenting: reading what %s answers: %w", request.URL.Host, err)
	}
	if response.StatusCode >= 300 {
		code := modelmanager.CodeBadRequest
		switch {
		case response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden:
			code = modelmanager.CodeForbidden
		case response.StatusCode == http.StatusNotFound:
			code = modelmanager.CodeNotFound
		case response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= 500:
			code = modelmanager.CodeUnavailable
		}
		return modelmanager.Errorf(code, "commenting: %s %s answered %s: %.300s", method, request.URL.Path, response.Status, text)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return modelmanager.Errorf(modelmanager.CodeUnavailable, "commenting: %s answered no list of comments: %w", request.URL.Host, err)
	}
	return nil
}
