package browser_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"modelmanager.dev/client"
	"modelmanager.dev/test/program"
)

// mm is the program that is tested.
var mm string

func TestMain(m *testing.M) {
	code := program.Main(m, &mm)
	if all := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == ""; code == 0 && all {
		code = everyPageSeen()
	}
	os.Exit(code)
}

// newVisitor starts a server with models, copied from their folders into one
// that the test may change, and a browser.
func newVisitor(t *testing.T, folders ...string) (visitor *analyst, models string) {
	t.Helper()
	return newVisitorOf(t, nil, folders...)
}

// newVisitorOf is newVisitor, of a server with more arguments.
func newVisitorOf(t *testing.T, args []string, folders ...string) (visitor *analyst, models string) {
	t.Helper()
	models = t.TempDir()
	for _, folder := range folders {
		if err := os.CopyFS(filepath.Join(models, filepath.Base(folder)), os.DirFS(folder)); err != nil {
			t.Fatal(err)
		}
	}
	a := &analyst{t: t, shots: os.Getenv("MM_BROWSER_SHOTS")}
	server := serve(t, models, args)
	a.server, a.pid = server.URL, server.PID()
	var err error
	if a.api, err = client.New(a.server); err != nil {
		t.Fatal(err)
	}
	a.browse()
	return a, models
}

// open goes to a page, and waits until it is whole.
func (a *analyst) open(path string) {
	a.t.Helper()
	a.do(chromedp.Navigate(a.server + path))
	a.whole()
}

// whole waits until nothing is on its way.
func (a *analyst) whole() {
	a.t.Helper()
	a.wait("document.readyState === 'complete' && !document.querySelector('.htmx-request')")
}

// says checks that a part of the page says something.
func (a *analyst) says(selector string, want ...string) {
	a.t.Helper()
	text := a.text(selector)
	for _, each := range want {
		if !strings.Contains(text, each) {
			a.t.Errorf("%s: %s doesn't say %q, but %q", a.address(), selector, each, text)
		}
	}
}

// typeInto types into a field as a person does.
func (a *analyst) typeInto(selector, text string) {
	a.t.Helper()
	a.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf("document.querySelector(%q).value = ''", selector)), chromedp.SendKeys(chromedp.CSS(selector), text))
}

// follow clicks what leads to another page, and waits until that is whole.
func (a *analyst) follow(selector string) {
	a.t.Helper()
	a.do(chromedp.Evaluate[chromedp.Void]("window.leaving = true"), chromedp.Click(chromedp.CSS(selector)))
	a.wait("window.leaving === undefined && document.readyState === 'complete'")
	a.whole()
}

// wait waits for an expression to be true, even of a page that is still to come:
// one that is left in the middle of the question is no failure.
func (a *analyst) wait(expression string) {
	a.t.Helper()
	a.eventually(expression, func(ctx context.Context) (bool, error) {
		asked, cancel := context.WithTimeout(a.ctx, 5*time.Second)
		defer cancel()
		is, err := chromedp.Run(asked, chromedp.Evaluate[bool](expression))
		return err == nil && is, ctx.Err()
	})
}

// eventually waits until an API call says what it should.
func (a *analyst) eventually(what string, check func(ctx context.Context) (bool, error)) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		if done, err := check(ctx); err != nil {
			a.t.Fatalf("%s: %v", what, err)
		} else if done {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			a.t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// forgive forgets complaints of the browser that had to come.
func (a *analyst) forgive(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.complain = slices.DeleteFunc(a.complain, func(complaint string) bool { return strings.Contains(complaint, what) })
}
