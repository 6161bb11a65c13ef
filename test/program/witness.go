package program

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Witness stands between mm and what it calls, counts the calls that change
// something, and kills mm at one of them, by the signal that nothing can catch:
// before it is heard of, or when it is done and mm isn't told.
type Witness struct {
	URL string // where mm finds it

	proxy *httputil.ReverseProxy

	mu     sync.Mutex
	calls  int
	at     int // the call at which mm is killed; 0: at none
	after  bool
	victim *exec.Cmd
}

// NewWitness starts one before a server, whose place its URL takes; or, with no
// server, as a proxy to wherever a call goes (HTTP_PROXY). It ends with the test.
func NewWitness(t *testing.T, server string) *Witness {
	t.Helper()
	to, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	w := &Witness{proxy: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			if server != "" {
				r.SetURL(to)
			}
		},
		ErrorLog: log.New(io.Discard, "", 0), // mm is killed amid calls
	}}
	listener := httptest.NewServer(w)
	t.Cleanup(listener.Close)
	w.URL = listener.URL
	return w
}

// Kills says at which call from now on a command is killed; at 0, at none. It
// has to be said before the command starts.
func (w *Witness) Kills(command *exec.Cmd, at int, after bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls, w.at, w.after, w.victim = 0, at, after, command
}

// Calls is how many calls changed something since Kills.
func (w *Witness) Calls() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls
}

// Killed tells whether a command that has ended was.
func Killed(command *exec.Cmd) bool {
	status, ok := command.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// ServeHTTP passes a call on, unless it is the one.
func (w *Witness) ServeHTTP(out http.ResponseWriter, request *http.Request) {
	changes := request.Method != http.MethodGet && request.Method != http.MethodHead && !strings.HasSuffix(request.URL.Path, "/predict")
	w.mu.Lock()
	if changes {
		w.calls++
	}
	now, after, victim := changes && w.calls == w.at, w.after, w.victim
	w.mu.Unlock()
	switch {
	case !now:
		w.proxy.ServeHTTP(out, request)
		return
	case after: // the server's whole answer is kept from mm
		w.proxy.ServeHTTP(httptest.NewRecorder(), request)
	}
	_ = victim.Process.Signal(syscall.SIGKILL)
	panic(http.ErrAbortHandler)
}
