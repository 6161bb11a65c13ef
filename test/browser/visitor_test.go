package browser_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"modelmanager.dev/client"
	"modelmanager.dev/test/program"
)

// mm is the program that is tested.
var mm string

func TestMain(m *testing.M) { os.Exit(program.Main(m, &mm)) }

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
	a.server = serve(t, models, args)
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

// axe is the source of axe-core.
var axe = sync.OnceValues(func() (string, error) {
	file, err := os.Open("testdata/axe/axe.min.js.gz")
	if err != nil {
		return "", err
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		return "", err
	}
	source, err := io.ReadAll(unzipped)
	return string(source), err
})

// finding is what axe has to say against a page.
type finding struct {
	ID, Impact, Help string
	Nodes            []struct {
		HTML           string `json:"html"`
		FailureSummary string `json:"failureSummary"`
	}
}

// seen takes pictures of the page, and lets axe look at it: in light and dark,
// wide and narrow. Nothing may be wrong by WCAG 2.2 AA.
func (a *analyst) seen(name string) {
	a.t.Helper()
	source, err := axe()
	if err != nil {
		a.t.Fatal(err)
	}
	a.do(chromedp.Evaluate[chromedp.Void](source))
	for _, view := range []struct {
		theme string
		width int64
	}{{"light", 1200}, {"dark", 1200}, {"light", 390}, {"dark", 390}} {
		a.do(chromedp.EmulateViewport(view.width, 900),
			chromedp.Evaluate[chromedp.Void](fmt.Sprintf("document.documentElement.setAttribute('data-theme', %q)", view.theme)))
		ctx, cancel := context.WithTimeout(a.ctx, patience)
		text, err := chromedp.Run(ctx, chromedp.Evaluate[string](
			`axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], resultTypes: ['violations']}).then(r => JSON.stringify(r.violations))`,
			chromedp.EvalAwaitPromise))
		cancel()
		var findings []finding
		if err == nil {
			err = json.Unmarshal([]byte(text), &findings)
		}
		if err != nil {
			a.t.Fatalf("axe on %s: %v", name, err)
		}
		for _, f := range findings {
			for _, node := range f.Nodes[:min(3, len(f.Nodes))] {
				a.t.Errorf("%s, %s, %d wide: %s (%s): %s\n%s\n%s", name, view.theme, view.width, f.ID, f.Impact, f.Help, node.HTML, node.FailureSummary)
			}
		}
	}
	a.shot(name)
}
