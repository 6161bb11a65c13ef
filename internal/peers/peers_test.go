package peers_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/peers"
)

// load is what servers tell in these tests.
type load struct{ Model string }

type found []peers.Peer

func (f found) Peers(context.Context) ([]peers.Peer, error) {
	if f == nil {
		return nil, modelmanager.Errorf(modelmanager.CodeUnavailable, "not known yet")
	}
	return f, nil
}

var key = []byte("a key of thirty-two bytes or more")

func has(models ...string) func() []load {
	return func() []load {
		var loads []load
		for _, model := range models {
			loads = append(loads, load{model})
		}
		return loads
	}
}

func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func collect(t *testing.T, finder peers.Finder) (string, error) {
	t.Helper()
	c := peers.NewCollector(finder, key, has("own"))
	defer c.Close()
	loads, err := c.All(t.Context())
	var models []string
	for _, load := range loads {
		models = append(models, load.Model)
	}
	slices.Sort(models)
	return strings.Join(models, " "), err
}

func TestWhatAllHaveUnderWay(t *testing.T) {
	a, b, idle := serve(t, peers.Handler(key, has("a", "own"))), serve(t, peers.Handler(key, has("b"))), serve(t, peers.Handler(key, has()))
	gone := httptest.NewServer(peers.Handler(key, has("gone")))
	gone.Close()
	got, err := collect(t, found{{URL: a}, {URL: b, Fading: true}, {URL: idle}, {URL: gone.URL}})
	if got != "a b own own" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	if got, err := collect(t, peers.None{}); got != "own" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	if got, err := collect(t, found(nil)); got != "own" || modelmanager.CodeOf(err) != modelmanager.CodeUnavailable {
		t.Errorf("%q %v", got, err)
	}
}

func TestWhoDoesNotAnswerIsNotTakenForIdle(t *testing.T) {
	good := serve(t, peers.Handler(key, has("good")))
	for name, bad := range map[string]http.Handler{
		"silent":     http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
		"another":    peers.Handler([]byte("another key of thirty-two bytes"), has("bad")),
		"an error":   http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) }),
		"unsigned":   http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `[{"Model": "bad"}]`) }),
		"redirected": http.RedirectHandler(good+peers.PathLoad, http.StatusFound),
	} {
		t.Run(name, func(t *testing.T) {
			url := serve(t, bad)
			if got, err := collect(t, found{{URL: url}, {URL: good}}); got != "good own" || err == nil {
				t.Errorf("%q %v", got, err)
			}
			if got, err := collect(t, found{{URL: url, Fading: true}, {URL: good}}); got != "good own" || err != nil {
				t.Errorf("fading: %q %v", got, err)
			}
		})
	}
}

// TestStrangers: what doesn't come from a server is refused, also what came
// from one but was changed, or is old.
func TestStrangers(t *testing.T) {
	var sent *http.Request
	handler := peers.Handler(key, has("secret"))
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent = r.Clone(context.Background())
		handler.ServeHTTP(w, r)
	}))
	if got, err := collect(t, found{{URL: url}}); got != "own secret" || err != nil {
		t.Fatalf("%q %v", got, err)
	}
	for name, change := range map[string]func(r *http.Request){
		"nothing":        func(r *http.Request) { r.Header = http.Header{} },
		"another code":   func(r *http.Request) { r.Header.Set("Mm-Code", strings.Repeat("0", 64)) },
		"another nonce":  func(r *http.Request) { r.Header.Set("Mm-Nonce", "another") },
		"another time":   func(r *http.Request) { r.Header.Set("Mm-Time", strconv.FormatInt(time.Now().Unix()+1, 10)) },
		"another method": func(r *http.Request) { r.Method = http.MethodPost },
		"another path":   func(r *http.Request) { r.URL.Path = "/internal/jobs" },
	} {
		r := sent.Clone(context.Background())
		change(r)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusForbidden || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestManySilentServersAreAskedAtOnce(t *testing.T) {
	url := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	var many found
	for range 12 {
		many = append(many, peers.Peer{URL: url})
	}
	begin := time.Now()
	_, err := collect(t, many)
	if took := time.Since(begin); err == nil || took > 4*time.Second {
		t.Errorf("%v after %v", err, took)
	}
	var coded *modelmanager.Error
	if !errors.As(err, &coded) || coded.Code != modelmanager.CodeUnavailable {
		t.Errorf("%v", err)
	}
}

func TestAQuestionAboutSomething(t *testing.T) {
	const path = "/internal/words/"
	own := func(about string) []load { return []load{{"of " + about}} }
	mux := http.NewServeMux()
	mux.Handle(path, peers.Answer(key, path, own))
	mux.Handle(peers.PathLoad, peers.Handler(key, has("another question")))
	c := peers.NewQuestion(found{{URL: serve(t, mux)}}, key, path, own)
	defer c.Close()
	for _, about := range []string{"iris", "", "a/b", "ä %?#", ".."} {
		got, err := c.About(t.Context(), about)
		if about == ".." { // which is another path
			if err == nil || len(got) != 1 {
				t.Errorf("about %q: %v %v", about, got, err)
			}
			continue
		}
		if err != nil || len(got) != 2 || got[1].Model != "of "+about {
			t.Errorf("about %q: %v %v", about, got, err)
		}
	}
	if _, err := peers.NewQuestion(found{{URL: serve(t, mux)}}, key, "/internal/else/", own).All(t.Context()); err == nil {
		t.Error("a question that the other doesn't know was answered")
	}
}
