package kube_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"modelmanager.dev/internal/kube"
)

// TestBound: a silent server, and one that falls silent within its answer, are
// given up; a watch that was let in isn't.
func TestBound(t *testing.T) {
	const limit = 100 * time.Millisecond
	end := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		flush := http.NewResponseController(w)
		switch r.URL.Path {
		case "/silent":
		case "/half":
			_, _ = io.WriteString(w, "half")
			_ = flush.Flush()
		case "/watch":
			_ = flush.Flush()
			<-time.After(3 * limit)
			_, _ = io.WriteString(w, "whole")
			return
		default:
			_, _ = io.WriteString(w, "whole")
			return
		}
		select {
		case <-r.Context().Done():
		case <-end:
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(end) })
	config := &rest.Config{Host: server.URL}
	kube.Bound(config, limit)
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	for path, ok := range map[string]bool{"/silent": false, "/silent?watch=true": false, "/half": false, "/watch?watch=true": true, "/": true} {
		t.Run(path, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			var text []byte
			response, err := client.Do(request)
			if err == nil {
				text, err = io.ReadAll(response.Body)
				_ = response.Body.Close()
			}
			if ok && (err != nil || string(text) != "whole") {
				t.Errorf("it says %q, %v", text, err)
			}
			if !ok && (err == nil || ctx.Err() != nil) {
				t.Errorf("it says %q, %v", text, err)
			}
			if path == "/silent" && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
