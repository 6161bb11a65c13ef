package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	modelmanager "modelmanager.dev"
	"modelmanager.dev/internal/pause"
)

// sourceTries bounds the attempts in a row that bring no byte.
const sourceTries = 6

// HTTPSource is an object behind a URL, signed or not, read by Range requests.
// A connection that breaks is resumed where it broke, with growing pauses.
type HTTPSource struct {
	client *http.Client
	url    string
	size   int64
	etag   string
	ranges bool          // the server answers ranges
	pause  time.Duration // before the second attempt
	read   atomic.Int64  // bytes received, for tests and reports
}

// NewHTTPSource asks for one byte of the object, with a GET because signed
// URLs allow nothing else, and takes its size and ETag from the answer.
func NewHTTPSource(ctx context.Context, client *http.Client, address string) (*HTTPSource, error) {
	return newHTTPSource(ctx, client, address, 200*time.Millisecond)
}

func newHTTPSource(ctx context.Context, client *http.Client, address string, pause time.Duration) (*HTTPSource, error) {
	s := &HTTPSource{client: client, url: address, size: -1, pause: pause}
	response, err := s.request(ctx, 0, 1)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		s.ranges = true
		_, total, _ := strings.Cut(response.Header.Get("Content-Range"), "/")
		if s.size, err = strconv.ParseInt(total, 10, 64); err != nil {
			return nil, s.fail("it doesn't say its size (Content-Range %q)", response.Header.Get("Content-Range"))
		}
	default:
		if s.size = response.ContentLength; s.size < 0 {
			return nil, s.fail("it says neither its size nor answers ranges")
		}
	}
	s.etag = response.Header.Get("ETag")
	return s, nil
}

// Size returns the object's length.
func (s *HTTPSource) Size() int64 { return s.size }

// ETag returns the object's entity tag, or "".
func (s *HTTPSource) ETag() string { return s.etag }

// ReadAt opens a range. An object that changed since NewHTTPSource is an error
// with CodeInputChanged, of the call or of a Read.
func (s *HTTPSource) ReadAt(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
	offset, length = clip(s.size, offset, length)
	r := &httpRange{source: s, ctx: ctx, offset: offset, end: offset + length}
	if length == 0 {
		return r, nil
	}
	if err := r.open(); err != nil {
		return nil, err
	}
	return r, nil
}

// request sends a GET for a range, again and again while the connection fails
// or the server is overloaded. The answer's status is 200, 206 or 416.
func (s *HTTPSource) request(ctx context.Context, offset, length int64) (*http.Response, error) {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval = s.pause
	response, err := backoff.Retry(ctx, func() (*http.Response, error) {
		response, err := s.ask(ctx, offset, length)
		if err != nil && ctx.Err() != nil {
			return nil, backoff.Permanent(ctx.Err())
		}
		return response, err
	}, backoff.WithBackOff(wait), backoff.WithMaxTries(sourceTries))
	if err != nil {
		if cause := ctx.Err(); cause != nil {
			return nil, cause
		}
		var known *modelmanager.Error
		if errors.As(err, &known) {
			return nil, known
		}
		return nil, s.fail("%v", withoutURL(err))
	}
	return response, nil
}

// ask sends one request, and says whether its failure is worth another.
func (s *HTTPSource) ask(ctx context.Context, offset, length int64) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, backoff.Permanent(s.fail("its address can't be read"))
	}
	// Without this the transport would ask for gzip, and ranges would be of
	// the compressed bytes.
	request.Header.Set("Accept-Encoding", "identity")
	if s.size < 0 || s.ranges {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	}
	if s.etag != "" && !strings.HasPrefix(s.etag, "W/") {
		request.Header.Set("If-Match", s.etag)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	switch status := response.StatusCode; {
	case status == http.StatusOK, status == http.StatusPartialContent:
		if etag := response.Header.Get("ETag"); s.etag != "" && etag != s.etag {
			response.Body.Close()
			return nil, backoff.Permanent(s.changed())
		}
		return response, nil
	case status == http.StatusRequestedRangeNotSatisfiable && s.size < 0:
		return response, nil // an empty object
	}
	body, _ := io.ReadAll(io.LimitReader(response.Body, 300))
	response.Body.Close()
	switch status := response.StatusCode; {
	case status == http.StatusPreconditionFailed, status == http.StatusRequestedRangeNotSatisfiable:
		return nil, backoff.Permanent(s.changed())
	case status == http.StatusNotFound, status == http.StatusGone:
		return nil, backoff.Permanent(modelmanager.Errorf(modelmanager.CodeNotFound, "there is no object at %s", s.name()))
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status >= 500:
		return nil, s.fail("the server answers %s: %s", response.Status, body)
	default:
		return nil, backoff.Permanent(s.fail("the server answers %s: %s", response.Status, body))
	}
}

func (s *HTTPSource) changed() error {
	return modelmanager.Errorf(modelmanager.CodeInputChanged,
		"%s changed while it was read; submit the job again with a file that stays as it is", s.name())
}

func (s *HTTPSource) fail(format string, args ...any) error {
	return modelmanager.Errorf(modelmanager.CodeStorage, "reading %s: %s", s.name(), fmt.Sprintf(format, args...))
}

// name is the address without its query, where signatures are.
func (s *HTTPSource) name() string {
	address, err := url.Parse(s.url)
	if err != nil {
		return "the object"
	}
	address.RawQuery, address.User, address.Fragment = "", nil, ""
	return address.String()
}

// withoutURL strips the address from a client's error: it may hold a signature.
func withoutURL(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

// httpRange reads [offset, end) of the object, over as many requests as it takes.
type httpRange struct {
	source      *HTTPSource
	ctx         context.Context
	offset, end int64
	body        io.ReadCloser
	failures    int // in a row, without a byte between
}

func (r *httpRange) open() error {
	response, err := r.source.request(r.ctx, r.offset, r.end-r.offset)
	if err != nil {
		return err
	}
	if response.StatusCode == http.StatusOK {
		if _, err := io.CopyN(io.Discard, response.Body, r.offset); err != nil {
			response.Body.Close()
			return r.source.fail("skipping to byte %d: %v", r.offset, err)
		}
	}
	r.body = response.Body
	return nil
}

// Read reads on, on a new connection if the old one broke.
func (r *httpRange) Read(p []byte) (int, error) {
	for r.offset < r.end {
		if r.body == nil {
			if err := r.open(); err != nil {
				return 0, err
			}
		}
		n, err := r.body.Read(p[:min(int64(len(p)), r.end-r.offset)])
		r.offset += int64(n)
		r.source.read.Add(int64(n))
		if n > 0 {
			r.failures = 0
			if err != nil {
				r.drop()
			}
			return n, nil
		}
		if err == nil {
			continue
		}
		r.drop()
		if cause := r.ctx.Err(); cause != nil {
			return 0, cause
		}
		if r.failures++; r.failures >= sourceTries {
			return 0, r.source.fail("the connection breaks at byte %d: %v", r.offset, withoutURL(err))
		}
		if !pause.For(r.ctx, r.source.pause<<(r.failures-1)) {
			return 0, r.ctx.Err()
		}
	}
	return 0, io.EOF
}

func (r *httpRange) drop() {
	r.body.Close()
	r.body = nil
}

// Close ends the request.
func (r *httpRange) Close() error {
	if r.body != nil {
		r.drop()
	}
	r.offset = r.end
	return nil
}
