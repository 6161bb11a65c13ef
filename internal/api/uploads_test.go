package api

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"modelmanager.dev/internal/problem"
)

// TestAnUploadThatStandsStillEnds sends half a body, and nothing more.
func TestAnUploadThatStandsStillEnds(t *testing.T) {
	ended := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := &patient{body: r.Body, control: http.NewResponseController(&problem.Tracker{ResponseWriter: w}), patience: 50 * time.Millisecond}
		_, _ = io.Copy(io.Discard, body)
		ended <- body.err
	}))
	defer server.Close()
	reader, writer := io.Pipe()
	defer writer.Close()
	go func() { _, _ = writer.Write([]byte("half")) }()
	request, err := http.NewRequest(http.MethodPost, server.URL, reader)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if response, err := server.Client().Do(request); err == nil {
			response.Body.Close()
		}
	}()
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
	writer.Close()
	<-done
}
