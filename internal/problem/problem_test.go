package problem_test

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modelmanager.dev"
	"modelmanager.dev/internal/problem"
)

func TestWrite(t *testing.T) {
	rows := []modelmanager.RowError{{Row: 3, Feature: "age", Message: "is null"}}
	tests := []struct {
		name       string
		err        error
		want       problem.Problem
		retryAfter string
	}{
		{
			name: "rows", err: &modelmanager.Error{Code: modelmanager.CodeInvalidRows, Detail: "1 row is invalid", Rows: rows},
			want: problem.Problem{Type: problem.TypePrefix + "invalid_rows", Title: "Some rows are invalid", Status: 422,
				Code: modelmanager.CodeInvalidRows, Detail: "1 row is invalid", Errors: rows},
		},
		{
			name: "later", err: &modelmanager.Error{Code: modelmanager.CodeUnavailable, Detail: "loading", RetryAfter: 1200 * time.Millisecond},
			want: problem.Problem{Type: problem.TypePrefix + "unavailable", Title: "Not available yet", Status: 503,
				Code: modelmanager.CodeUnavailable, Detail: "loading"},
			retryAfter: "2",
		},
		{
			name: "secret", err: errors.New("dial 10.0.0.3: refused"),
			want: problem.Problem{Type: problem.TypePrefix + "internal", Title: "Internal error", Status: 500,
				Code: modelmanager.CodeInternal, Detail: "something went wrong inside Model Manager; its logs say what"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			recorder := httptest.NewRecorder()
			problem.Write(recorder, test.err)
			var got problem.Problem
			if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if recorder.Code != test.want.Status {
				t.Errorf("status %d, want %d", recorder.Code, test.want.Status)
			}
			if got := recorder.Header().Get("Retry-After"); got != test.retryAfter {
				t.Errorf("Retry-After %q, want %q", got, test.retryAfter)
			}
		})
	}
}
