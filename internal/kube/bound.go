package kube

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
)

// Bound makes every request of a configuration fail that the API server hasn't
// answered, to the end of the answer, within a limit: one that hangs takes
// connections, and would keep whoever asks for ever. A watch has to be let in
// within that time, and then lasts for as long as it does. client-go's own
// timeout would end watches, too.
func Bound(config *rest.Config, limit time.Duration) {
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &bounded{next: next, limit: limit} })
}

type bounded struct {
	next  http.RoundTripper
	limit time.Duration
}

// WrappedRoundTripper lets client-go find the transport beneath.
func (b *bounded) WrappedRoundTripper() http.RoundTripper { return b.next }

func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	late := fmt.Errorf("the API server hasn't answered within %v: %w", b.limit, context.DeadlineExceeded)
	timer := time.AfterFunc(b.limit, func() { cancel(late) })
	end := func() {
		timer.Stop()
		cancel(nil)
	}
	response, err := b.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		if context.Cause(ctx) == late {
			err = late
		}
		end()
		return nil, err
	}
	if r.URL.Query().Get("watch") != "" {
		timer.Stop()
	}
	response.Body = &boundedBody{ReadCloser: response.Body, end: end}
	return response, nil
}

type boundedBody struct {
	io.ReadCloser
	end func()
}

func (b *boundedBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}
