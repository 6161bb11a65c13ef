package web

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// visitWith is a visit to the files of a model, with the cookies that an
// earlier one has set.
func visitWith(t *testing.T, web *Web, cookies []*http.Cookie) (*visit, *httptest.ResponseRecorder) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/models/scorer/batch", nil)
	r.SetPathValue("model", "scorer")
	for _, cookie := range cookies {
		r.AddCookie(cookie)
	}
	w := httptest.NewRecorder()
	return &visit{web: web, w: w, r: r}, w
}

// TestColumnsAreRememberedInAnyOrder: the same headers in another order are the
// same file to whoever matched them.
func TestColumnsAreRememberedInAnyOrder(t *testing.T) {
	web := newWeb(t, hostileAPI(t))
	v, w := visitWith(t, web, nil)
	matched := map[string]string{"x": "Größe", "n": "n°", "kind": ""}
	if !v.remember([]string{"id", "Größe", "n°", "id"}, lastTime{columns: matched}) {
		t.Fatal("it isn't remembered")
	}
	v, _ = visitWith(t, web, w.Result().Cookies())
	if diff := cmp.Diff(matched, v.recall([]string{"n°", "id", "id", "Größe"}).columns); diff != "" {
		t.Error(diff)
	}
	if got := v.recall([]string{"n°", "id", "Größe"}); got.columns != nil {
		t.Errorf("other headers: %v", got)
	}
}

// TestAWideFileIsRemembered: hundreds of columns that were matched by hand fit;
// what doesn't is said, and keeps what is known.
func TestAWideFileIsRemembered(t *testing.T) {
	web := newWeb(t, hostileAPI(t))
	wide := func(n int, name func(i int) string) ([]string, map[string]string) {
		headers, matched := make([]string, n), map[string]string{}
		for i := range headers {
			headers[i] = fmt.Sprintf("Column %d", i)
			matched[name(i)] = headers[i]
		}
		return headers, matched
	}
	headers, matched := wide(250, func(i int) string { return fmt.Sprintf("measurement_of_the_mean_%d", i) })
	v, w := visitWith(t, web, nil)
	if !v.remember(headers, lastTime{columns: matched}) {
		t.Fatal("250 columns aren't remembered")
	}
	v, _ = visitWith(t, web, w.Result().Cookies())
	if diff := cmp.Diff(matched, v.recall(headers).columns); diff != "" {
		t.Error(diff)
	}
	random := rand.New(rand.NewPCG(1, 2))
	headers, matched = wide(2000, func(int) string { return fmt.Sprintf("%x", random.Uint64()) })
	if v.remember(headers, lastTime{columns: matched}) {
		t.Error("2,000 columns are said to be remembered")
	}
}
