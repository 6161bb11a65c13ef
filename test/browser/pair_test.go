package browser_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"modelmanager.dev/internal/auth"
	"modelmanager.dev/internal/auth/oidc"
	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/peers"
	"modelmanager.dev/internal/pipeline"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/local"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/registry/memory"
	"modelmanager.dev/internal/server"
	"modelmanager.dev/internal/storage"
	"modelmanager.dev/test/oidcprovider"
)

// pair is two servers of one installation behind one address, as on a cluster:
// every request goes to the one that didn't get the one before. They share what
// is published, what runs and what is stored; one of them leads. People come
// from a real OpenID provider. mm serve takes none of this on one machine, so
// the servers run in this process, with mm as their agents.
type pair struct {
	url      string
	provider *oidcprovider.Provider

	mu    sync.Mutex
	turn  int
	asked [2]map[string]int // requests by server and path
}

// rights are what people may do, by name; they stand for RBAC's.
type rights map[string][]auth.Verb

// Authorize implements auth.Authorizer.
func (r rights) Authorize(_ context.Context, who auth.Identity, action auth.Action) (auth.Decision, error) {
	return auth.Decision{Allowed: slices.Contains(r[who.Name], action.Verb), Needs: "the verb " + string(action.Verb)}, nil
}

// turns lets one of several servers lead.
type turns chan struct{}

// Run implements leader.Elector.
func (t turns) Run(ctx context.Context, lead func(context.Context) error) error {
	select {
	case t <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	err := lead(ctx)
	<-t
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// beside is the Finder of a server that has one other.
type beside string

// Peers implements peers.Finder.
func (b beside) Peers(context.Context) ([]peers.Peer, error) {
	return []peers.Peer{{URL: "http://" + string(b)}}, nil
}

// What both servers have, neither closes.
type (
	sharedStore  struct{ registry.Store }
	sharedDriver struct{ platform.Driver }
)

// Close implements registry.Store.
func (sharedStore) Close() error { return nil }

// Close implements platform.Driver.
func (sharedDriver) Close() error { return nil }

// newPair starts both servers and waits until they have published the models.
func newPair(t *testing.T, models string, may rights) *pair {
	t.Helper()
	front := httptest.NewUnstartedServer(nil)
	p := &pair{url: "http://" + front.Listener.Addr().String(), asked: [2]map[string]int{{}, {}}}
	p.provider = oidcprovider.Start(t, p.url+"/sign-in/callback")
	people, err := oidc.New(oidc.Options{
		Issuer: p.provider.Issuer, Audience: oidcprovider.ClientID, ClientSecret: oidcprovider.ClientSecret, UsernamePrefix: "-", DisplayName: "Meadow Login",
	})
	if err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	log := &bytes.Buffer{}
	logger := slog.New(slog.NewTextHandler(&locked{w: log}, nil))
	environments := &environment.Manager{Dir: filepath.Join(data, "environments"), Logger: logger}
	store, leads := memory.New(), make(turns, 1)
	var driver *local.Driver
	internal := [2]string{freeAddress(t), freeAddress(t)}
	published := make(chan map[string]error, 2)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		front.Close()
		running.Wait()
		if driver != nil {
			if err := driver.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the servers' log:\n%s", log)
		}
	})
	var servers [2]http.Handler
	for i, other := range []int{1, 0} {
		bucket, err := storage.Open(ctx, "file://"+filepath.ToSlash(filepath.Join(data, "objects")))
		if err != nil {
			t.Fatal(err)
		}
		s, err := server.New(ctx, server.Config{
			Listen: "127.0.0.1:0", Internal: internal[i], InternalURL: "http://" + internal[i], Models: models,
			Key: bytes.Repeat([]byte{7}, 32), Store: sharedStore{store}, Bucket: bucket,
			Driver: func(host server.Host) (platform.Driver, error) {
				if driver == nil {
					driver, err = local.New(local.Options{
						Dir: filepath.Join(data, "platform"), Agent: []string{mm, "agent"}, Artifact: host.Open, Environments: environments, Logger: logger,
					})
				}
				return sharedDriver{driver}, err
			},
			Validator: &pipeline.Validator{Environments: environments, Files: &pipeline.Files{}, Scratch: t.TempDir()},
			Auth:      auth.New(auth.Options{Authenticator: people, Authorizer: may, Logger: logger}),
			Provider:  people, PublicURL: p.url,
			Elector: leads, Peers: beside(internal[other]), Name: []string{"one", "two"}[i], Version: "test", Logger: logger,
		})
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			if err := s.Run(ctx, func(problems map[string]error) { published <- problems }); err != nil {
				t.Error(err)
			}
		})
		proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.Address()})
		proxy.FlushInterval = -1
		proxy.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelDebug)
		servers[i] = proxy
	}
	front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		now := p.turn
		p.turn = 1 - now
		p.asked[now][r.Method+" "+r.URL.Path]++
		p.mu.Unlock()
		servers[now].ServeHTTP(w, r)
	})
	front.Start()
	select {
	case problems := <-published:
		for name, err := range problems {
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	case <-time.After(patience):
		t.Fatal("the models weren't published")
	}
	return p
}

// newMember opens a browser before a pair of servers.
func newMember(t *testing.T, may rights, folders ...string) (*analyst, *pair) {
	t.Helper()
	models := t.TempDir()
	for _, folder := range folders {
		if err := os.CopyFS(filepath.Join(models, filepath.Base(folder)), os.DirFS(folder)); err != nil {
			t.Fatal(err)
		}
	}
	p := newPair(t, models, may)
	a := &analyst{t: t, server: p.url, shots: os.Getenv("MM_BROWSER_SHOTS")}
	a.browse()
	return a, p
}

// both says whether each server was asked for something.
func (p *pair) both(request string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[0][request] > 0 && p.asked[1][request] > 0
}

// freeAddress is one where nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// locked is a Writer for several goroutines.
type locked struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements io.Writer.
func (l *locked) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(data)
}
