package gateway

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
)

// writes reads one request and writes a text, then ends the connection.
func writes(text string) func(net.Conn) {
	return func(c net.Conn) {
		if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			io.Copy(io.Discard, r.Body)
			io.WriteString(c, text)
		}
	}
}

// Whatever a replica does before its answer is whole, the other one answers.
func TestDeadReplicaIsReplaced(t *testing.T) {
	for name, text := range map[string]string{
		"no answer":   "",
		"half a head": "HTTP/1.1 200 OK\r\nContent-",
		"half a body": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"predictions\": ",
		"half chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Limits{})
			w.traffic("m", all(1))
			w.raw("m", 1, writes(text))
			w.start("m", 1, says("whole"))
			for range 20 {
				w.call("m/predict", "{}").want(t, 200, "whole")
			}
		})
	}
}

func TestTwoDeadReplicasAreAnError(t *testing.T) {
	w := newWorld(t, Limits{})
	w.traffic("m", all(1))
	w.raw("m", 1, writes(""))
	w.raw("m", 1, writes(""))
	a := w.call("m/predict", "{}")
	a.want(t, 503, "lost the replica")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestOnlyReplicaDiesAndComesBack(t *testing.T) {
	w := newWorld(t, Limits{})
	w.traffic("m", all(1))
	var calls atomic.Int64
	var r platform.Replica
	told := make(chan struct{})
	r = w.raw("m", 1, func(c net.Conn) {
		if calls.Add(1) == 1 {
			<-told
			go func() {
				down := r
				down.Stage = agent.StageLoading
				w.report(down, false)
				w.report(r, false) // the same replica, at the same address
			}()
			return
		}
		writes("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nback")(c)
	})
	close(told)
	w.call("m/predict", "{}", "Prefer", "wait=5").want(t, 200, "back")
}

func TestStoppingReplicaIsWaitedFor(t *testing.T) {
	w := newWorld(t, Limits{})
	w.traffic("m", all(1))
	refused := make(chan struct{})
	var once atomic.Bool
	r, _ := w.start("m", 1, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		if once.CompareAndSwap(false, true) {
			close(refused)
		}
		http.Error(rw, "stopping", http.StatusServiceUnavailable)
	}))
	w.onEnsure = func(ref platform.Ref) { w.start(ref.Model, ref.Version, says("new")) }
	go func() { // the gateway hears of it only after its call was refused
		<-refused
		w.report(r, true)
	}()
	w.call("m/predict", "{}").want(t, 200, "new")
}

func TestGarbageIsAnErrorAtOnce(t *testing.T) {
	w := newWorld(t, Limits{})
	w.traffic("m", all(1))
	var calls atomic.Int64
	w.raw("m", 1, func(c net.Conn) {
		calls.Add(1)
		writes("220 smtp.example.org ESMTP\r\n\r\n")(c)
	})
	a := w.call("m/predict", "{}")
	a.want(t, 500, "can't be read as HTTP")
	if codeOf(t, a) != modelmanager.CodeInternal || calls.Load() != 1 {
		t.Errorf("%s after %d calls", a.body, calls.Load())
	}
}

// A caller must never take half an answer for a whole one.
func TestLongAnswerIsCutOff(t *testing.T) {
	for name, head := range map[string]string{
		"length":  "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n",
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n30000\r\n",
	} {
		w := newWorld(t, Limits{})
		w.traffic("m", all(1))
		w.raw("m", 1, writes(head+strings.Repeat("x", 150_000)))
		if a := w.call("m/predict", "{}"); a.err == nil {
			t.Errorf("%s: %d with %d bytes, as if they were all", name, a.status, len(a.body))
		}
	}
}

func TestAnswerTooLong(t *testing.T) {
	w := newWorld(t, Limits{Answer: 1000})
	w.traffic("m", all(1))
	w.start("m", 1, says(strings.Repeat("x", 1001)))
	w.call("m/predict", "{}").want(t, 413, "the answer is longer")
}

func TestSlowBodyEndsWithTheDeadline(t *testing.T) {
	w := newWorld(t, Limits{})
	w.traffic("m", all(1))
	w.start("m", 1, says("{}"))
	body, writer := io.Pipe()
	defer writer.Close()
	request, _ := http.NewRequest("POST", w.server.URL+"/v1/models/m/predict", body)
	request.Header.Set("Prefer", "wait=1")
	started := time.Now()
	reply, err := w.server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusGatewayTimeout || time.Since(started) > 10*time.Second {
		t.Errorf("%d after %s", reply.StatusCode, time.Since(started))
	}
}

func TestFailedVersionDoesNotTakeTheModelDown(t *testing.T) {
	w := newWorld(t, Limits{})
	w.start("m", 1, says("old"))
	w.traffic("m", all(1))
	w.call("m/predict", "{}").want(t, 200, "old")
	w.traffic("m", all(2))
	w.report(platform.Replica{ID: "bad", Ref: platform.Ref{Model: "m", Version: 2}, Stage: agent.StageFailed, Reason: "it has no model.pkl"}, false)
	for range 5 {
		w.call("m/predict", "{}").want(t, 200, "old")
	}
	if pending := w.pending("m"); pending == nil || !strings.Contains(pending.Reason, "it has no model.pkl; it is being tried again, and version 1 goes on answering") {
		t.Errorf("%+v", pending)
	}
	w.traffic("m", all(3)) // the repaired one
	w.call("m/predict", "{}").want(t, 200, "old")
	w.start("m", 3, says("new"))
	w.call("m/predict", "{}").want(t, 200, "new")
}
