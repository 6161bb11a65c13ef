package peers

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"modelmanager.dev"
)

// Bounds of asking one server.
const (
	askTimeout = 2 * time.Second
	maxAnswer  = 64 << 20
	asksAtOnce = 16
)

// Collector asks every server one kind of question: what each has of
// something, to be put together.
type Collector[T any] struct {
	finder Finder
	key    []byte
	path   string
	own    func(about string) []T
	client *http.Client
}

// NewCollector makes a Collector of what servers that know a key have under
// way; own is what this one has.
func NewCollector[T any](finder Finder, key []byte, own func() []T) *Collector[T] {
	return NewQuestion(finder, key, PathLoad, func(string) []T { return own() })
}

// NewQuestion makes a Collector of what servers answer at a path of their
// internal listeners, below which is what a question is about; own is what
// this one answers.
func NewQuestion[T any](finder Finder, key []byte, path string, own func(about string) []T) *Collector[T] {
	return &Collector[T]{finder: finder, key: key, path: path, own: own, client: &http.Client{
		Timeout: askTimeout,
		Transport: &http.Transport{ // no proxy
			DialContext:         (&net.Dialer{Timeout: askTimeout / 2}).DialContext,
			MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// All returns what all servers have under way, each server's after the other.
// An error says that it isn't all; what is known comes with it.
func (c *Collector[T]) All(ctx context.Context) ([]T, error) { return c.About(ctx, "") }

// About is All of what there is about one thing: a model, by its name.
func (c *Collector[T]) About(ctx context.Context, about string) ([]T, error) {
	all := c.own(about)
	peers, err := c.finder.Peers(ctx)
	if err != nil {
		return all, err
	}
	var mu sync.Mutex
	var failures []error
	var group errgroup.Group
	group.SetLimit(asksAtOnce)
	for _, peer := range peers {
		group.Go(func() error {
			parts, err := c.ask(ctx, peer.URL, about)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				all = append(all, parts...)
			case peer.Fading || errors.Is(err, syscall.ECONNREFUSED): // where nobody listens, nothing is
			default:
				failures = append(failures, err)
			}
			return nil
		})
	}
	_ = group.Wait()
	return all, errors.Join(failures...)
}

func (c *Collector[T]) ask(ctx context.Context, server, about string) ([]T, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server+c.path+url.PathEscape(about), nil)
	if err != nil {
		return nil, fmt.Errorf("asking the server %s for %s: %w", server, c.path, err)
	}
	at, nonce := strconv.FormatInt(time.Now().Unix(), 10), rand.Text()
	request.Header.Set(headerTime, at)
	request.Header.Set(headerNonce, nonce)
	request.Header.Set(headerCode, code(c.key, "question", request.Method, request.URL.Path, at, nonce))
	response, err := c.client.Do(request)
	if err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeUnavailable, "asking the server %s for %s: %w", server, c.path, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil || response.StatusCode != http.StatusOK || len(body) > maxAnswer {
		return nil, modelmanager.Errorf(modelmanager.CodeUnavailable, "asking the server %s for %s: it answered %s, %.200q (%v)", server, c.path, response.Status, body, err)
	}
	if want := code(c.key, "answer", nonce, string(body)); !hmac.Equal([]byte(response.Header.Get(headerCode)), []byte(want)) {
		return nil, modelmanager.Errorf(modelmanager.CodeForbidden, "asking the server %s for %s: what answers there is no server of this installation", server, c.path)
	}
	var parts []T
	if err := json.Unmarshal(body, &parts); err != nil {
		return nil, fmt.Errorf("asking the server %s for %s: reading the answer: %w", server, c.path, err)
	}
	return parts, nil
}

// Close ends the connections that are kept.
func (c *Collector[T]) Close() { c.client.CloseIdleConnections() }
