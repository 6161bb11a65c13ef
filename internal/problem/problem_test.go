package problem

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
)

func TestWriteSaysWhatWhereAndWhenToTryAgain(t *testing.T) {
	err := &modelmanager.Error{
		Code:       modelmanager.CodeUnavailable,
		Detail:     "iris version 3 is loading",
		RetryAfter: 1500 * time.Millisecond,
	}
	w := httptest.NewRecorder()
	Write(w, fmt.Errorf("predicting: %w", err))

	var p Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if w.Code != 503 || p.Status != 503 || p.Code != modelmanager.CodeUnavailable {
		t.Errorf("status %d, problem %+v", w.Code, p)
	}
	if p.Detail != "predicting: iris version 3 is loading" {
		t.Errorf("the wrapped context is lost: %q", p.Detail)
	}
	if got := w.Header().Get("Retry-After"); got != "2" {
		t.Errorf("Retry-After: %q", got)
	}
	if got := w.Header().Get("Content-Type"); got != ContentType {
		t.Errorf("Content-Type: %q", got)
	}
}

func TestRetryAfter(t *testing.T) {
	for code, want := range map[modelmanager.Code]int{
		modelmanager.CodeUnavailable: 1, modelmanager.CodeTooManyRequests: 1, modelmanager.CodeConflict: 0, modelmanager.CodeInternal: 0,
	} {
		if got := RetryAfter(&modelmanager.Error{Code: code}); got != want {
			t.Errorf("%s: %d, want %d", code, got, want)
		}
	}
	if got := RetryAfter(errors.New("no code")); got != 0 {
		t.Error(got)
	}
}

func TestErrorsWithoutACodeKeepTheirTextToThemselves(t *testing.T) {
	p := Of(errors.New("open /secret/path: permission denied"))
	if p.Status != 500 || strings.Contains(p.Detail, "secret") {
		t.Errorf("%+v", p)
	}
}

func TestEveryCodeHasAStatusAndATitle(t *testing.T) {
	for code, kind := range kinds {
		if kind.status < 400 || kind.status > 599 || kind.title == "" {
			t.Errorf("%s: %+v", code, kind)
		}
	}
}
