package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers with what it was asked, as its path wants it.
func echo(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.URL.Path, "unread") {
		http.Error(w, "no", http.StatusForbidden)
		return
	}
	body, err := io.ReadAll(r.Body)
	header := w.Header()
	header["X-Content-Type-Options"] = []string{"nosniff"}
	header.Add("X-Several", "one")
	header.Add("X-Several", "two\r\nX-Injected: three")
	var names []string
	for name, values := range r.Header {
		names = append(names, fmt.Sprintf("%s=%q", name, values))
	}
	slices.Sort(names)
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	text := fmt.Sprintf("%s %s %s %q %s %d %q %v %q %v %s %s", r.Method, r.URL, r.RequestURI, r.Proto, r.Host, r.ContentLength, names, local != nil, body, err, host, r.TransferEncoding)
	switch r.URL.Path {
	case "/take/typed":
		header.Set("Content-Type", "application/json")
	case "/take/declared":
		header.Set("Content-Length", fmt.Sprint(len(text)))
	case "/take/long":
		text = strings.Repeat(text, 100)
	case "/take/huge":
		text = strings.Repeat("0123456789", 30_000)
	case "/take/pieces":
		for range 50 {
			_, _ = io.WriteString(w, text)
		}
	case "/take/flushed":
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
	case "/take/nothing":
		w.WriteHeader(http.StatusNoContent)
		if _, err := io.WriteString(w, "x"); !errors.Is(err, http.ErrBodyNotAllowed) {
			panic("a body where there can be none")
		}
		return
	case "/take/empty":
		return
	case "/take/close":
		header.Set("Connection", "close")
	case "/take/error":
		w.WriteHeader(http.StatusUnprocessableEntity)
		w.WriteHeader(http.StatusOK) // ignored
		header.Set("X-Late", "too late")
	case "/take/toomuch":
		header.Set("Content-Length", "3")
		if _, err := io.WriteString(w, "more"); !errors.Is(err, http.ErrContentLength) {
			panic("more than its length")
		}
		text = "abc"
	case "/take/abort":
		panic(http.ErrAbortHandler)
	}
	_, _ = io.WriteString(w, text)
}

func takes(method, path string) bool {
	return method == http.MethodPost && strings.HasPrefix(path, "/take")
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newRest(handler http.Handler) *http.Server {
	return &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute, IdleTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
}

// serving is a Server on a port of its own.
type serving struct {
	*Server
	address string
	ended   chan error
}

func start(t testing.TB, handler http.Handler) *serving {
	t.Helper()
	s := &serving{Server: New(Config{Takes: takes, Handler: handler, Rest: newRest(handler), Logger: quiet()}), ended: make(chan error, 1)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	go func() { s.ended <- s.Serve(listener) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-s.ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}

func dial(t testing.TB, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

// converse sends bytes in one piece, and returns the answers as text: what
// depends on the time, or on the order of fields, is left out.
func converse(t testing.TB, address, bytes string) []string {
	t.Helper()
	c := dial(t, address)
	if _, err := io.WriteString(c, bytes); err != nil {
		t.Fatal(err)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	var answers []string
	for reader := bufio.NewReader(c); ; {
		answer, err := http.ReadResponse(reader, nil)
		if err != nil {
			return answers
		}
		body, err := io.ReadAll(answer.Body)
		answer.Header.Del("Date")
		answers = append(answers, fmt.Sprint(answer.Status, answer.ContentLength, answer.TransferEncoding, answer.Close, answer.Header, string(body), err))
	}
}

func post(path string, fields ...string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: here\r\n" + strings.Join(fields, "\r\n") + "\r\n\r\n"
}

// dialogues are what callers send on one connection.
var dialogues = map[string]string{
	"plain":                post("/take", "Content-Length: 5", "Content-Type: application/json") + "hello",
	"two":                  post("/take", "Content-Length: 5") + "hello" + post("/take", "Content-Length: 3") + "you",
	"the same again":       strings.Repeat(post("/take", "Content-Length: 5", "X-A: b")+"hello", 5),
	"typed":                post("/take/typed", "Content-Length: 1") + "x",
	"query":                post("/take?on_error=partial&b=%20c", "Content-Length: 1") + "x",
	"escaped path":         post("/take/a%2Fb%20c", "Content-Length: 1") + "x",
	"declared":             post("/take/declared", "Content-Length: 1") + "x",
	"long":                 post("/take/long", "Content-Length: 1") + "x" + post("/take", "Content-Length: 1") + "x",
	"huge":                 post("/take/huge", "Content-Length: 1") + "x" + post("/take", "Content-Length: 1") + "x",
	"pieces":               post("/take/pieces", "Content-Length: 1") + "x" + post("/take", "Content-Length: 1") + "x",
	"flushed":              post("/take/flushed", "Content-Length: 1") + "x" + post("/take", "Content-Length: 1") + "x",
	"nothing":              post("/take/nothing", "Content-Length: 1") + "x" + post("/take", "Content-Length: 1") + "x",
	"empty":                post("/take/empty", "Content-Length: 1") + "x" + post("/take", "Content-Length: 1") + "x",
	"handler closes":       post("/take/close", "Content-Length: 1") + "x" + post("/take", "Content-Length: 1") + "x",
	"caller closes":        post("/take", "Content-Length: 1", "Connection: close") + "x" + post("/take", "Content-Length: 1") + "x",
	"keep-alive":           post("/take", "Content-Length: 1", "Connection: Keep-Alive") + "x" + post("/take", "Content-Length: 1") + "x",
	"error":                post("/take/error", "Content-Length: 1") + "x",
	"too much":             post("/take/toomuch", "Content-Length: 1") + "x",
	"aborted":              post("/take/abort", "Content-Length: 1") + "x" + post("/take", "Content-Length: 1") + "x",
	"unread":               post("/take/unread", "Content-Length: 1") + "x" + post("/take", "Content-Length: 1") + "x",
	"much unread":          post("/take/unread", "Content-Length: 100000") + strings.Repeat("x", 100_000) + post("/take", "Content-Length: 1") + "x",
	"too much unread":      post("/take/unread", "Content-Length: 1000000") + strings.Repeat("x", 1_000_000) + post("/take", "Content-Length: 1") + "x",
	"a body in parts":      post("/take/declared", "Content-Length: 20000") + strings.Repeat("x", 20_000) + post("/take", "Content-Length: 1") + "x",
	"a body cut short":     post("/take", "Content-Length: 10") + "hello",
	"another's":            "GET / HTTP/1.1\r\nHost: here\r\n\r\n" + post("/take", "Content-Length: 1") + "x",
	"another's after ours": post("/take", "Content-Length: 1") + "x" + "GET / HTTP/1.1\r\nHost: here\r\n\r\n" + post("/take", "Content-Length: 1") + "x",
	"another's path":       post("/other", "Content-Length: 1") + "x",
	"no body":              post("/take", "Content-Length: 0"),
	"no length":            post("/take", "X-A: b"),
	"chunks":               post("/take", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n" + post("/take", "Content-Length: 1") + "x",
	"chunks and a length":  post("/take", "Transfer-Encoding: chunked", "Content-Length: 3") + "3\r\nabc\r\n0\r\n\r\n",
	"two lengths":          post("/take", "Content-Length: 3", "Content-Length: 4") + "abcd",
	"same length twice":    post("/take", "Content-Length: 3", "Content-Length: 3") + "abc",
	"a length that's none": post("/take", "Content-Length: +3") + "abc",
	"expects":              post("/take", "Content-Length: 3", "Expect: 100-continue") + "abc",
	"upgrades":             post("/take", "Content-Length: 3", "Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA") + "abc",
	"HTTP/1.0":             "POST /take HTTP/1.0\r\nContent-Length: 1\r\n\r\nx",
	"HTTP/2":               "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"no host":              "POST /take HTTP/1.1\r\nContent-Length: 1\r\n\r\nx",
	"two hosts":            post("/take", "Content-Length: 1", "Host: there") + "x",
	"a wrong host":         "POST /take HTTP/1.1\r\nHost: a/b\r\nContent-Length: 1\r\n\r\nx",
	"absolute":             "POST http://there/take HTTP/1.1\r\nHost: here\r\nContent-Length: 1\r\n\r\nx",
	"folded":               post("/take", "Content-Length: 1", "X-A: b", " c") + "x",
	"a space before colon": post("/take", "Content-Length : 1") + "x",
	"a bare line feed":     "POST /take HTTP/1.1\nHost: here\nContent-Length: 1\n\nx",
	"a control character":  post("/take", "Content-Length: 1", "X-A: \x01") + "x",
	"repeated fields":      post("/take", "Content-Length: 1", "x-a: 1", "X-A: 2", "X-a:3 ") + "x",
	"beyond ASCII":         post("/take", "Content-Length: 1", "X-A: \xe4\xc3\xa4") + "x",
	"a fragment":           post("/take#here", "Content-Length: 1") + "x",
	"an odd path":          post("//take", "Content-Length: 1") + "x",
	"a wrong escape":       post("/take/%zz", "Content-Length: 1") + "x",
	"garbage":              "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	"garbage behind":       post("/take", "Content-Length: 1") + "x" + "garbage\r\n\r\n",
	"a line before":        "\r\n" + post("/take", "Content-Length: 1") + "x",
	"a long head":          post("/take", "Content-Length: 1", "X-A: "+strings.Repeat("a", 10_000)) + "x",
	"many fields":          post("/take", "Content-Length: 1"+strings.Repeat("\r\nX-A: b", 200)) + "x",
	"line breaks behind":   post("/take", "Content-Length: 1") + "x\r\n" + post("/take", "Content-Length: 1") + "x\r\n\r\n",
	"many breaks behind":   post("/take", "Content-Length: 1") + "x" + strings.Repeat("\r\n", 20) + post("/take", "Content-Length: 1") + "x",
	"a few bytes behind":   post("/take", "Content-Length: 1") + "xGE",
	"a few bytes":          "PO",
	"half a head":          "POST /take HTTP/1.1\r\nHo",
	"nothing at all":       "",
}

// TestLikeNetHTTP: whatever a caller sends, it hears what net/http's own server
// would answer.
func TestLikeNetHTTP(t *testing.T) {
	ours, theirs := pair(t)
	for name, bytes := range dialogues {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(converse(t, theirs, bytes), converse(t, ours, bytes)); diff != "" {
				t.Errorf("(-net/http +ours)\n%s", diff)
			}
		})
	}
}

// pair starts two servers with the same handler: ours, and net/http's.
func pair(t testing.TB) (ours, theirs string) {
	t.Helper()
	handler := http.HandlerFunc(echo)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rest := newRest(handler)
	var done sync.WaitGroup
	done.Go(func() { _ = rest.Serve(listener) })
	t.Cleanup(func() {
		_ = rest.Close()
		done.Wait()
	})
	return start(t, handler).address, listener.Addr().String()
}

func FuzzLikeNetHTTP(f *testing.F) {
	for _, bytes := range dialogues {
		if len(bytes) < 1000 {
			f.Add(bytes)
		}
	}
	ours, theirs := pair(f)
	f.Fuzz(func(t *testing.T, bytes string) {
		if diff := cmp.Diff(converse(t, theirs, bytes), converse(t, ours, bytes)); diff != "" {
			t.Errorf("%q: (-net/http +ours)\n%s", bytes, diff)
		}
	})
}

// TestWhatIsPlainIsTaken: the dialogues would be alike, too, if everything went
// to net/http.
func TestWhatIsPlainIsTaken(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, taken := w.(*response)
		fmt.Fprint(w, taken)
	})
	s := start(t, handler)
	for name, want := range map[string]string{
		"plain": "true", "two": "true", "query": "true", "a body in parts": "true", "beyond ASCII": "true", "keep-alive": "true",
		"another's": "false", "chunks": "false", "HTTP/1.0": "false", "a long head": "false",
	} {
		for i, answer := range converse(t, s.address, dialogues[name]) {
			if !strings.Contains(answer, want) {
				t.Errorf("%s, request %d: taken is not %s: %s", name, i, want, answer)
			}
		}
	}
}

// TestSmallSteps: it makes no difference how the bytes arrive.
func TestSmallSteps(t *testing.T) {
	ours, theirs := pair(t)
	for _, name := range []string{"two", "a body in parts", "another's after ours", "chunks"} {
		want := converse(t, theirs, dialogues[name])
		for step := range 4 {
			c := dial(t, ours)
			_ = c.(*net.TCPConn).SetNoDelay(true)
			go func() {
				text := dialogues[name]
				for len(text) > 0 {
					n := min(len(text), 1+step*37)
					if len(text) > 1000 {
						n = 1000
					}
					_, _ = io.WriteString(c, text[:n])
					text = text[n:]
				}
			}()
			reader := bufio.NewReader(c)
			for i := range want {
				answer, err := http.ReadResponse(reader, nil)
				if err != nil {
					t.Fatalf("%s, answer %d: %v", name, i, err)
				}
				body, _ := io.ReadAll(answer.Body)
				if !strings.Contains(want[i], string(body)) {
					t.Errorf("%s, answer %d: %s", name, i, body)
				}
			}
		}
	}
}

// TestTheCallerGoesAway: whoever waits for the end of a request's context hears of it.
func TestTheCallerGoesAway(t *testing.T) {
	for name, body := range map[string]string{"with the head": "hello", "later": ""} {
		t.Run(name, func(t *testing.T) {
			entered, ended := make(chan struct{}), make(chan error, 1)
			s := start(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				derived, cancel := context.WithCancel(r.Context())
				defer cancel()
				_, _ = io.ReadAll(r.Body)
				close(entered)
				<-derived.Done()
				ended <- r.Context().Err()
			}))
			c := dial(t, s.address)
			_, _ = io.WriteString(c, post("/take", "Content-Length: 5")+body)
			if body == "" {
				_, _ = io.WriteString(c, "hello")
			}
			<-entered
			_ = c.Close()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestTheCallerStays: to have watched a connection changes nothing about it,
// also where the next request came meanwhile.
func TestTheCallerStays(t *testing.T) {
	var contexts []context.Context
	watch := make(chan struct{})
	s := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Context().Done()
		contexts = append(contexts, r.Context())
		body, _ := io.ReadAll(r.Body)
		if string(body) == "slow" {
			<-watch
		}
		if err := r.Context().Err(); err != nil {
			t.Errorf("while it is answered: %v", err)
		}
		_, _ = w.Write(body)
	}))
	c := dial(t, s.address)
	reader := bufio.NewReader(c)
	expect := func(want string) {
		t.Helper()
		answer, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(answer.Body); err != nil || string(body) != want {
			t.Errorf("%q, not %q: %v", body, want, err)
		}
	}
	for range 3 {
		_, _ = io.WriteString(c, post("/take", "Content-Length: 5")+"quick")
		expect("quick")
	}
	_, _ = io.WriteString(c, post("/take", "Content-Length: 4")+"slow")
	_, _ = io.WriteString(c, post("/take", "Content-Length: 4")+"next")
	close(watch)
	expect("slow")
	expect("next")
	for _, ctx := range contexts {
		select {
		case <-ctx.Done():
		default:
			t.Error("a request's context goes on when it is answered")
		}
	}
}

func TestAPanicEndsItsConnectionAlone(t *testing.T) {
	var logged bytes.Buffer
	s := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "half an answer")
		if r.URL.Path == "/take/panic" {
			panic("on purpose")
		}
	}))
	s.Server.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	if answers := converse(t, s.address, post("/take/panic", "Content-Length: 1")+"x"); len(answers) != 0 {
		t.Errorf("answered %q", answers)
	}
	if answers := converse(t, s.address, post("/take", "Content-Length: 1")+"x"); len(answers) != 1 {
		t.Errorf("another one: %q", answers)
	}
	if !strings.Contains(logged.String(), "on purpose") {
		t.Errorf("the log says %q", logged.String())
	}
}

// TestShutdown: requests under way are answered, here and by net/http; whoever
// waits for no answer is sent away.
func TestShutdown(t *testing.T) {
	entered, release := make(chan struct{}, 2), make(chan struct{})
	s := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/take/quick" {
			entered <- struct{}{}
			<-release
		}
		_, _ = io.WriteString(w, "done")
	}))
	waiting := dial(t, s.address)
	_, _ = io.WriteString(waiting, post("/take/quick", "Content-Length: 1")+"x")
	if answer, err := http.ReadResponse(bufio.NewReader(waiting), nil); err != nil || answer.Close {
		t.Fatal(answer, err)
	}
	fresh := dial(t, s.address)
	var busy []net.Conn
	for _, path := range []string{"/take", "/other"} {
		c := dial(t, s.address)
		_, _ = io.WriteString(c, post(path, "Content-Length: 1")+"x")
		busy = append(busy, c)
		<-entered
	}
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(t.Context()) }()
	if _, err := waiting.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("who waits for nothing reads %v", err)
	}
	// One that was accepted just before is still heard.
	_, _ = io.WriteString(fresh, post("/take/quick", "Content-Length: 1")+"x")
	if answer, err := http.ReadResponse(bufio.NewReader(fresh), nil); err != nil || !answer.Close {
		t.Errorf("a new connection: %v %v", answer, err)
	}
	select {
	case err := <-down:
		t.Fatalf("down before the last answer: %v", err)
	default:
	}
	close(release)
	for _, c := range busy {
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(answer.Body); string(body) != "done" || !answer.Close {
			t.Errorf("%v %q", answer, body)
		}
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", s.address); err == nil {
		c.Close()
		t.Error("it still accepts connections")
	}
}

func TestShutdownThatWaitsTooLong(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-release
	}))
	c := dial(t, s.address)
	_, _ = io.WriteString(c, post("/take", "Content-Length: 1")+"x")
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(release)
}

// TestIdleConnectionsEnd: who sends nothing is sent away.
func TestIdleConnectionsEnd(t *testing.T) {
	handler := http.HandlerFunc(echo)
	for name, sends := range map[string]string{"before a request": "", "after one": dialogues["plain"]} {
		s := &serving{Server: New(Config{Takes: takes, Handler: handler, Rest: newRest(handler), Logger: quiet()}), ended: make(chan error, 1)}
		s.Rest.ReadHeaderTimeout, s.Rest.IdleTimeout = 50*time.Millisecond, 50*time.Millisecond
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { s.ended <- s.Serve(listener) }()
		c := dial(t, listener.Addr().String())
		_, _ = io.WriteString(c, sends)
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_ = s.Close()
		<-s.ended
	}
}
