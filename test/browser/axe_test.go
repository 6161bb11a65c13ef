package browser_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"

	"github.com/chromedp/chromedp"
)

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

// reviewed are what axe can't decide by itself and somebody has looked at: the
// rule, what axe says of the element, what its HTML is like, and why it is right.
var reviewed = []struct {
	rule, says string
	html       *regexp.Regexp
	why        string
}{
	{"color-contrast", "element contains an image node", regexp.MustCompile(`^<text class="(tick|label)`),
		"a chart's text stands on the card, in the colours of text that is checked there"},
	{"color-contrast", "partially obscured by another element", regexp.MustCompile(`^<t[dh][ >]`),
		"a cell at the edge of a table that scrolls; those in full sight look the same and are checked"},
	{"color-contrast", "too short to determine if it is actual text", regexp.MustCompile(`^<(text|td)[ >]`),
		"a single figure; longer ones beside it look the same and are checked"},
}

// undecided returns what of a finding nobody has looked at yet.
func (f finding) undecided() []string {
	var open []string
	for _, node := range f.Nodes {
		known := false
		for _, one := range reviewed {
			known = known || one.rule == f.ID && strings.Contains(node.FailureSummary, one.says) && one.html.MatchString(node.HTML)
		}
		if !known {
			open = append(open, node.HTML+"\n"+node.FailureSummary)
		}
	}
	return open
}

// seen takes pictures of the page, and lets axe look at it: in light and dark,
// wide and narrow. Nothing may be wrong by WCAG 2.2 AA, and what only people can
// decide has been looked at.
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
			`axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], resultTypes: ['violations', 'incomplete']}).then(r => JSON.stringify(r))`,
			chromedp.EvalAwaitPromise))
		cancel()
		var found struct{ Violations, Incomplete []finding }
		if err == nil {
			err = json.Unmarshal([]byte(text), &found)
		}
		if err != nil {
			a.t.Fatalf("axe on %s: %v", name, err)
		}
		for _, f := range found.Violations {
			for _, node := range f.Nodes[:min(3, len(f.Nodes))] {
				a.t.Errorf("%s, %s, %d wide: %s (%s): %s\n%s\n%s", name, view.theme, view.width, f.ID, f.Impact, f.Help, node.HTML, node.FailureSummary)
			}
		}
		for _, f := range found.Incomplete {
			a.t.Logf("%s, %s, %d wide: axe can't decide about %s on %d elements", name, view.theme, view.width, f.ID, len(f.Nodes))
			for _, open := range f.undecided() {
				a.t.Errorf("%s, %s, %d wide: look whether this is right, and say why in reviewed: %s (%s): %s\n%s", name, view.theme, view.width, f.ID, f.Impact, f.Help, open)
			}
		}
	}
	pages.note(read[string](a, "location.pathname"))
	a.shot(name)
}
