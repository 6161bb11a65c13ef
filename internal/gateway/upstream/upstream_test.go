package upstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer is a server that handles connections by hand.
type peer struct {
	pool     *Pool
	accepted atomic.Int64
}

// newPeer starts one; handle gets the number of the connection, from 1.
func newPeer(t *testing.T, limits Limits, handle func(n int, c net.Conn, in *bufio.Reader)) *peer {
	t.Helper()
	dir, err := os.MkdirTemp("", "up")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{pool: NewPool("unix", path, limits)}
	var wait sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wait.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			n := int(p.accepted.Add(1))
			wait.Go(func() {
				defer c.Close()
				handle(n, c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		p.pool.Close()
		listener.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wait.Wait()
		os.RemoveAll(dir)
	})
	return p
}

// request reads one request; false when the connection ends.
func request(in *bufio.Reader) (string, bool) {
	r, err := http.ReadRequest(in)
	if err != nil {
		return "", false
	}
	body, err := io.ReadAll(r.Body)
	return string(body), err == nil
}

// answers writes the same to every request.
func answers(text string) func(int, net.Conn, *bufio.Reader) {
	return func(_ int, c net.Conn, in *bufio.Reader) {
		for {
			if _, ok := request(in); !ok {
				return
			}
			io.WriteString(c, text)
		}
	}
}

func (p *peer) do(wait time.Duration) (int, string, error) {
	reply, err := p.pool.Do(context.Background(), &Request{
		Method: "POST", Path: "/predict", Body: []byte("body"), Deadline: time.Now().Add(wait),
	})
	if err != nil {
		return 0, "", err
	}
	defer reply.Close()
	body, err := io.ReadAll(reply)
	return reply.Status, string(body), err
}

func TestUnderstandsAnswers(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	for name, c := range map[string]struct {
		text, body string
		status     int
		kept       bool
	}{
		"length":             {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, true},
		"no reason":          {"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, true},
		"empty":              {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", 200, true},
		"no content":         {"HTTP/1.1 204 No Content\r\n\r\n", "", 204, true},
		"interim":            {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 422 No\r\nContent-Length: 2\r\n\r\nno", "no", 422, true},
		"chunked":            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\n\r\n", "hello", 200, true},
		"trailers":           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\n", "hello", 200, true},
		"ends like the last": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n5\r\n0\r\n\r\n\r\n0\r\n\r\n", "hel0\r\n\r\n", 200, true},
		"long chunk":         {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2710\r\n" + long + "\r\n0\r\n\r\n", long, 200, true},
		"long":               {"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n" + long, long, 200, true},
		"long head":          {"HTTP/1.1 200 OK\r\nX: " + long + "\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, true},
		"close":              {"HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, false},
		"HTTP/1.0":           {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, Limits{}, answers(c.text))
			for range 3 {
				status, body, err := p.do(5 * time.Second)
				if status != c.status || body != c.body || err != nil {
					t.Fatalf("got %d %.20q %v", status, body, err)
				}
			}
			want := int64(3)
			if c.kept {
				want = 1
			}
			if n := p.accepted.Load(); n != want {
				t.Errorf("%d connections, want %d", n, want)
			}
		})
	}
}

func TestReadsToTheEndOfTheConnection(t *testing.T) {
	p := newPeer(t, Limits{}, func(_ int, c net.Conn, in *bufio.Reader) {
		request(in)
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nhello")
	})
	if _, body, err := p.do(5 * time.Second); body != "hello" || err != nil {
		t.Errorf("%q %v", body, err)
	}
}

func TestRefusesMalformedAnswers(t *testing.T) {
	for _, text := range []string{
		"SSH-2.0-OpenSSH_9.6\r\n\r\n",
		"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\n Content-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nA: b\x00c\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 3\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, world",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nbad trailer\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nmore",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 40_000) + "\r\n\r\n",
		strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 20) + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	} {
		p := newPeer(t, Limits{}, answers(text))
		if status, body, err := p.do(5 * time.Second); KindOf(err) != Broken {
			t.Errorf("%.60q: %d %.20q %v", text, status, body, err)
		}
		p.pool.mu.Lock()
		if len(p.pool.idle) != 0 {
			t.Errorf("%.60q: its connection was kept", text)
		}
		p.pool.mu.Unlock()
	}
}

func TestPeerDies(t *testing.T) {
	for name, text := range map[string]string{
		"before its answer": "",
		"in the head":       "HTTP/1.1 200 OK\r\nContent-Le",
		"in the body":       "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
		"in a chunk":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nhello",
		"between chunks":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"before the end":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
	} {
		p := newPeer(t, Limits{}, func(_ int, c net.Conn, in *bufio.Reader) {
			request(in)
			io.WriteString(c, text)
		})
		if _, _, err := p.do(5 * time.Second); KindOf(err) != Dead || name != "before its answer" && name != "in the head" && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
	pool := NewPool("unix", "/nowhere", Limits{})
	if _, err := pool.Do(context.Background(), &Request{Method: "GET", Path: "/", Deadline: time.Now().Add(time.Second)}); KindOf(err) != Dead {
		t.Errorf("no peer: %v", err)
	}
}

func TestPeerIsSlow(t *testing.T) {
	for _, text := range []string{
		"", "HTTP/1.1 200 OK\r\nCon", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	} {
		p := newPeer(t, Limits{}, func(_ int, c net.Conn, in *bufio.Reader) {
			request(in)
			io.WriteString(c, text)
			request(in) // until the connection ends
		})
		if _, _, err := p.do(60 * time.Millisecond); KindOf(err) != TimedOut {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestCallerLeaves(t *testing.T) {
	arrived := make(chan struct{})
	p := newPeer(t, Limits{}, func(_ int, c net.Conn, in *bufio.Reader) {
		request(in)
		close(arrived)
		request(in)
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-arrived
		cancel()
	}()
	_, err := p.pool.Do(ctx, &Request{Method: "POST", Path: "/", Deadline: time.Now().Add(time.Minute)})
	if KindOf(err) != Cancelled {
		t.Error(err)
	}
}

func TestSlowAnswerThenReuse(t *testing.T) {
	release := make(chan struct{}, 1)
	p := newPeer(t, Limits{Watch: time.Millisecond}, func(_ int, c net.Conn, in *bufio.Reader) {
		for {
			if _, ok := request(in); !ok {
				return
			}
			<-release
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
		}
	})
	for range 5 {
		time.AfterFunc(10*time.Millisecond, func() { release <- struct{}{} })
		if _, body, err := p.do(10 * time.Second); body != "hello" || err != nil {
			t.Fatal(body, err)
		}
	}
	if n := p.accepted.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestKeptConnectionWasClosed(t *testing.T) {
	closed := make(chan struct{}, 10)
	p := newPeer(t, Limits{}, func(_ int, c net.Conn, in *bufio.Reader) {
		request(in)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
		c.Close() // without having said so
		closed <- struct{}{}
	})
	for range 3 {
		if _, body, err := p.do(5 * time.Second); body != "hello" || err != nil {
			t.Fatal(body, err)
		}
		<-closed
	}
}

// The connection ends only once the next request is on it.
func TestKeptConnectionDiesUnderTheNextRequest(t *testing.T) {
	p := newPeer(t, Limits{}, func(n int, c net.Conn, in *bufio.Reader) {
		for i := 0; ; i++ {
			if _, ok := request(in); !ok || n == 1 && i == 1 {
				return
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
		}
	})
	for range 3 {
		if _, body, err := p.do(5 * time.Second); body != "hello" || err != nil {
			t.Fatal(body, err)
		}
	}
	if n := p.accepted.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// A connection outlives the deadline of the exchange that it was made for.
func TestKeptBeyondADeadline(t *testing.T) {
	p := newPeer(t, Limits{}, answers("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nagain"))
	const limit = 50 * time.Millisecond
	passed, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for range 2 {
		if _, body, err := p.do(limit); body != "again" || err != nil {
			t.Fatal(body, err)
		}
		<-passed.Done()
	}
	if n := p.accepted.Load(); n != 1 {
		t.Errorf("%d connections for two requests", n)
	}
}

// An answer that nobody asked for must never be taken for the next one.
func TestUnaskedAnswer(t *testing.T) {
	read, sent := make(chan struct{}), make(chan struct{})
	p := newPeer(t, Limits{}, func(n int, c net.Conn, in *bufio.Reader) {
		request(in)
		if n > 1 {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother")
			return
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
		<-read
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale")
		close(sent)
		request(in)
	})
	if _, body, err := p.do(5 * time.Second); body != "first" || err != nil {
		t.Fatal(body, err)
	}
	close(read)
	<-sent
	if _, body, err := p.do(5 * time.Second); body != "other" || err != nil {
		t.Fatal(body, err)
	}
}

func TestEarlyAnswerToALongBody(t *testing.T) {
	p := newPeer(t, Limits{}, func(_ int, c net.Conn, in *bufio.Reader) {
		in.ReadString('\n')
		io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nsorry")
		c.(*net.UnixConn).CloseRead()
	})
	reply, err := p.pool.Do(context.Background(), &Request{Method: "POST", Path: "/", Body: make([]byte, 8<<20), Deadline: time.Now().Add(5 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Close()
	body, err := io.ReadAll(reply)
	if reply.Status != 413 || string(body) != "sorry" || err != nil {
		t.Errorf("%d %q %v", reply.Status, body, err)
	}
}

func TestCloseIdle(t *testing.T) {
	p := newPeer(t, Limits{}, answers("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
	p.do(time.Second)
	p.pool.CloseIdle(time.Now().Add(-time.Hour))
	if len(p.pool.idle) != 1 {
		t.Error("a fresh connection was closed")
	}
	p.pool.CloseIdle(time.Now().Add(time.Hour))
	if len(p.pool.idle) != 0 {
		t.Error("an old connection was kept")
	}
}

// FuzzAnswer: what this parser and net/http's both accept, they read alike;
// what this one accepts, that one does too.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\nT: u\r\n\r\n",
		"HTTP/1.0 404\r\n\r\nhello", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
	} {
		f.Add([]byte(seed), byte(7))
	}
	f.Fuzz(func(t *testing.T, text []byte, step byte) {
		pool := NewPool("unix", "/nowhere", Limits{})
		c := newConn(&script{rest: text, step: int(step) + 1}, pool)
		if err := c.exchange(context.Background(), &Request{Method: "POST", Path: "/", Deadline: time.Now().Add(time.Hour)}); err != nil {
			return
		}
		r := &c.response
		body, err := io.ReadAll(r)
		if err != nil {
			return
		}
		in := bufio.NewReader(bytes.NewReader(text))
		var theirs *http.Response
		for theirs == nil || theirs.StatusCode < 200 {
			var theirErr error
			if theirs, theirErr = http.ReadResponse(in, &http.Request{Method: "POST"}); theirErr != nil {
				t.Fatalf("net/http refuses %q: %v", text, theirErr)
			}
		}
		theirBody, theirErr := io.ReadAll(theirs.Body)
		if theirErr != nil || theirs.StatusCode != r.Status || !bytes.Equal(body, theirBody) {
			t.Fatalf("%q: ours %d %q, theirs %d %q %v", text, r.Status, body, theirs.StatusCode, theirBody, theirErr)
		}
		for _, field := range r.Fields {
			values := theirs.Header.Values(string(field.Name))
			found := false
			for _, v := range values {
				found = found || v == string(field.Value)
			}
			if !found {
				t.Fatalf("%q: ours has %q: %q, theirs %q", text, field.Name, field.Value, values)
			}
		}
	})
}

// script is a connection from which a text is read, some bytes at a time.
type script struct {
	net.Conn
	rest []byte
	step int
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.rest[:min(s.step, len(s.rest))])
	s.rest = s.rest[n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error) { return len(p), nil }
func (s *script) SetDeadline(time.Time) error { return nil }
func (s *script) Close() error                { return nil }
