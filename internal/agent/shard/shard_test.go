package shard

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/problem"
)

func wantCode(t *testing.T, err error, code modelmanager.Code) {
	t.Helper()
	if got := modelmanager.CodeOf(err); got != code {
		t.Errorf("code %q, want %q (%v)", got, code, err)
	}
}

func newTestClient(t *testing.T, handler http.HandlerFunc) *client {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c := newClient(agent.Task{Server: server.URL, Token: "t", Job: "j", Step: "shards"})
	c.patience = 5 * time.Second
	t.Cleanup(c.close)
	return c
}

func TestPostIsPatient(t *testing.T) {
	var calls atomic.Int32
	c := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		switch calls.Add(1) {
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			http.Error(w, "starting", http.StatusBadGateway)
		case 3:
			problem.Write(w, modelmanager.Errorf(modelmanager.CodeStorage, "the disk is full"))
		default:
			_ = json.NewEncoder(w).Encode(Verdict{Accepted: true})
		}
	})
	var verdict Verdict
	if err := c.post(t.Context(), "", struct{}{}, &verdict); err != nil || !verdict.Accepted || calls.Load() != 4 {
		t.Errorf("%+v, %v after %d calls", verdict, err, calls.Load())
	}
}

func TestPostGivesUp(t *testing.T) {
	for code, want := range map[modelmanager.Code]int32{modelmanager.CodeForbidden: 1, modelmanager.CodeConflict: 1} {
		var calls atomic.Int32
		c := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			problem.Write(w, modelmanager.Errorf(code, "no"))
		})
		wantCode(t, c.post(t.Context(), "", struct{}{}, &struct{}{}), code)
		if calls.Load() != want {
			t.Errorf("%s: %d calls", code, calls.Load())
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := newTestClient(t, func(http.ResponseWriter, *http.Request) {})
	if err := c.post(ctx, "", struct{}{}, &struct{}{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestUpload(t *testing.T) {
	var got bytes.Buffer
	status := http.StatusCreated
	var cut atomic.Bool
	c := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		got.Reset()
		if _, err := io.Copy(&got, r.Body); err != nil {
			cut.Store(true)
			return
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"size":5,"sha256":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}`)
	})
	put := func(text string) error {
		u, err := c.put(t.Context(), c.task.Server)
		if err != nil {
			t.Fatal(err)
		}
		defer u.Abort()
		if _, err := io.WriteString(u, text); err != nil {
			return err
		}
		return u.Close()
	}
	if err := put("hello"); err != nil || got.String() != "hello" {
		t.Error(got.String(), err)
	}
	wantCode(t, put("other"), modelmanager.CodeStorage) // what arrived is not what was sent
	status = http.StatusForbidden
	if put("hello") == nil {
		t.Error("a refused upload succeeded")
	}
	u, err := c.put(t.Context(), c.task.Server)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(u, strings.Repeat("x", 1<<20)); err != nil {
		t.Fatal(err)
	}
	u.Abort()
	if err := u.Close(); err == nil {
		t.Error("an aborted upload can be closed")
	}
}

func TestRunWithoutTask(t *testing.T) {
	code, err := Run(t.Context(), agent.Config{}, func(context.Context) (worker.Predictor, error) { return nil, nil })
	if code != agent.ExitModelFault {
		t.Error(code)
	}
	wantCode(t, err, modelmanager.CodeBadRequest)
}

func TestOneEach(t *testing.T) {
	got := oneEach([]modelmanager.RowError{
		{Row: 4, Message: "late"}, {Row: 1, Feature: "a", Message: "x"}, {Row: 1, Feature: "b", Message: "y"}, {Row: 1, Message: "z"},
	})
	want := []modelmanager.RowError{{Row: 1, Feature: "a", Message: "x; b: y; z"}, {Row: 4, Message: "late"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFilter(t *testing.T) {
	f := filter{after: 10, rows: map[int64]struct{}{3: {}}}
	for row, want := range map[int64]bool{1: false, 3: true, 10: false, 11: true} {
		if f.wanted(row) != want {
			t.Errorf("row %d", row)
		}
	}
}
