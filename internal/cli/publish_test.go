package cli

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"modelmanager.dev"
)

// TestWhoAnswersMeanwhile: a version that is given traffic takes it when it is
// ready; until then, who publishes is told who answers.
func TestWhoAnswersMeanwhile(t *testing.T) {
	var info modelmanager.ModelInfo
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked++; r.URL.Path != "/v1/models/risk" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		_ = json.NewEncoder(w).Encode(info)
	}))
	defer server.Close()
	g := &global{server: server.URL}
	info.Traffic.Pending = &modelmanager.Pending{Reason: "version 2 is loading; version 1 goes on answering\x07 until it is ready"}
	if got := g.whoAnswers(t.Context(), "risk", 100); !strings.HasPrefix(got, ": version 2 is loading; version 1 goes on answering") || strings.Contains(got, "\x07") {
		t.Errorf("said is %q", got)
	}
	info.Traffic.Pending = nil
	if got := g.whoAnswers(t.Context(), "risk", 100); got != "" {
		t.Errorf("of one that is ready it says %q", got)
	}
	if got := g.whoAnswers(t.Context(), "risk", 0); got != "" || asked != 2 {
		t.Errorf("of one without traffic it says %q, after %d calls", got, asked)
	}
}
