package browser_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"modelmanager.dev"
)

const (
	donors = "testdata/models/donor-reply"
	iris   = "../../examples/models/iris-species-go"
	fuel   = "../../examples/models/fuel-consumption"
)

// TestAFundraiserFindsAndTriesAModel is the path of somebody who has never seen
// the page before.
func TestAFundraiserFindsAndTriesAModel(t *testing.T) {
	a, _ := newVisitor(t, donors, iris, fuel)
	a.open("/")
	a.says("#found", "3 models")
	a.says("main", "donor-reply", "fuel-consumption", "iris-species-go")
	a.seen("catalogue")

	// Search as you type; the address follows, and the page isn't loaded again.
	a.do(chromedp.Evaluate[chromedp.Void]("window.before = true"), chromedp.SendKeys(chromedp.CSS("#q"), "donor reply"))
	a.wait("document.querySelectorAll('.models > li').length === 1 && location.search.indexOf('q=donor') >= 0")
	if !read[bool](a, "window.before === true") {
		t.Error("searching loads the page anew")
	}
	a.do(chromedp.Reload())
	a.whole()
	a.says("#found", "1 model")
	a.says("#results", "donor-reply")
	a.open("/?q=nothing+like+this")
	a.says("#found", "Nothing was found")
	a.seen("catalogue-nothing")

	a.open("/?q=donor")
	a.follow(".models a")
	a.says("h1", "donor-reply")
	a.says("main", "What it needs", "The donor's latest gift", "0 to 100000", "north, east, south or west", "may be unknown", "About this model", "whom")
	a.seen("model")

	// Try it, with an example and a change.
	a.follow(".tabs a:nth-child(2)")
	a.seen("try-empty")
	a.do(chromedp.Evaluate[chromedp.Void]("[...document.querySelectorAll('.samples a')].find(a => a.textContent === 'A loyal donor').click()"))
	a.wait("document.querySelector('#f-last_gift') && document.querySelector('#f-last_gift').value === '50'")
	a.typeInto("#f-last_gift", "75")
	a.do(chromedp.Click(chromedp.CSS("#try-form .primary")))
	a.wait("document.querySelector('.answer') !== null")
	a.says("#answer", "reply", "that is 9", "EUR", "loyal", "Answered by version 1 in")
	a.says("#said", "donor-reply answers: reply: 0.9")
	a.says("#model-state", "Ready")
	if value := read[string](a, "document.querySelector('#f-last_gift').value"); value != "75" {
		t.Errorf("the form forgot what was typed: %q", value)
	}
	a.do(chromedp.Evaluate[chromedp.Void]("document.querySelector('details[name=code]').open = true"))
	// It is copied also where the browser has no clipboard for pages: over HTTP.
	a.do(chromedp.Evaluate[chromedp.Void]("Object.defineProperty(navigator, 'clipboard', {value: undefined}); document.addEventListener('copy', () => { window.copied = document.activeElement.value; })"),
		chromedp.Click(chromedp.CSS("details[name=code][open] .copy")))
	a.wait("document.querySelector('details[name=code][open] .copy').textContent === 'Copied curl'")
	if copied := read[string](a, "window.copied"); !strings.HasPrefix(copied, "curl 'http://127.0.0.1") {
		t.Errorf("copied is %q", copied)
	}
	a.says("details[name=code]", `"last_gift": 75`, a.server+"/v1/models/donor-reply/predict")
	a.seen("try-answer")

	// What is wrong stands beside its field.
	a.typeInto("#f-last_gift", "-5")
	a.do(chromedp.Evaluate[chromedp.Void]("document.querySelector('#try-form').noValidate = true"), chromedp.Click(chromedp.CSS("#try-form .primary")))
	a.wait("document.querySelector('#f-last_gift-wrong') !== null")
	a.says("#f-last_gift-wrong", "below the minimum, 0")
	a.says("#answer", "See what is said beside 1 field.")
	a.seen("try-wrong")
}

// TestASleepingModelIsWokenVisibly: the first question of a model that needs a
// while says how far it is, and is answered by itself.
func TestASleepingModelIsWokenVisibly(t *testing.T) {
	a, models := newVisitor(t, donors)
	slow := filepath.Join(models, "donor-reply", "predict.py")
	source, err := os.ReadFile(slow)
	if err != nil {
		t.Fatal(err)
	}
	a.publishes(slow, "import time\n\ntime.sleep(5)\n"+string(source), 2)
	a.open("/models/donor-reply/try?example=1&version=2")
	a.do(chromedp.Click(chromedp.CSS("#try-form .primary")))
	a.wait("document.querySelector('.waking') !== null || document.querySelector('.answer') !== null")
	if read[bool](a, "document.querySelector('.waking') !== null") {
		a.says("#answer", "The model is waking up.", "the answer appears here by itself")
		a.seen("try-waking")
	}
	a.wait("document.querySelector('.answer') !== null")
	a.says("#answer", "Answered by version 2")
}

// publishes writes a file of a model's folder, which the server follows, and
// waits until the version is there.
func (a *analyst) publishes(path, content string, version int) {
	a.t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		a.t.Fatal(err)
	}
	name := filepath.Base(filepath.Dir(path))
	a.eventually(fmt.Sprintf("%s version %d", name, version), func(ctx context.Context) (bool, error) {
		info, err := a.api.Model(ctx, name)
		return err == nil && info.Latest >= version && info.Traffic.Largest() == version, err
	})
}

// TestADataScientistComparesAndRollsOut is the path of who publishes models.
func TestADataScientistComparesAndRollsOut(t *testing.T) {
	a, models := newVisitor(t, donors)
	folder := filepath.Join(models, "donor-reply")
	rewrite := func(file, old, new string, version int) {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil || !strings.Contains(string(data), old) {
			t.Fatalf("%s lacks %q (%v)", file, old, err)
		}
		a.publishes(filepath.Join(folder, file), strings.ReplaceAll(string(data), old, new), version)
	}
	rewrite("predict.py", "WEIGHT = 0.9", "WEIGHT = 0.6", 2)
	rewrite("model.yaml", "minimum: 1, maximum: 500", "minimum: 1, maximum: 300", 3)
	row := json.RawMessage(`{"last_gift": 50, "gifts": 14, "first_gift_on": "2016-11-02", "region": "north", "newsletter": true, "age": 61, "channel": "letter", "last_three_years": [120, 150, 50]}`)
	for range 40 {
		if _, err := a.api.Predict(t.Context(), "donor-reply", 0, modelmanager.PredictRequest{Rows: []json.RawMessage{row}}); err != nil {
			t.Fatal(err)
		}
	}

	a.open("/models/donor-reply")
	a.says("#live", "calls in the last hour, none of which failed", "Calls", "Replicas")
	a.seen("model-busy")
	a.open("/models/donor-reply/versions")
	a.says(".versions", "Version 3", "answers 100 %", "can break callers", "Version 2", "what runs is new", "The first version.")
	a.seen("versions")
	a.open("/models/donor-reply/versions/3")
	a.says("main", "What changed", "State", "gifts")
	a.seen("version")
	a.open("/models/donor-reply/versions/3/logs")
	a.seen("log")

	a.open("/models/donor-reply/compare?from=1&to=3")
	a.wait("document.querySelector('#shift .plot') !== null")
	a.says("main", "Version 3 can break callers of version 1", "How the answers move", "examples differ", "A loyal donor")
	a.seen("compare")

	// A canary, confirmed; then back.
	a.open("/models/donor-reply/traffic")
	a.says("main", "Version 3", "100 %", "Brings back the setting before: version 2.")
	a.seen("traffic")
	a.do(chromedp.SetValue(chromedp.CSS("#canary-version"), "1"))
	a.typeInto("#percent", "20")
	a.follow("[aria-labelledby=canary] button")
	a.says("main", "Send 20 % to version 1?", "about 20 will be answered by version 1 and 80 by version 3", "Now, version 3 answers.")
	a.typeInto("#reason", "to see whether the old one was better")
	a.seen("traffic-confirm")
	a.follow("main .primary")
	a.says(".note", "From now on, version 3 (80 %) and version 1 (20 %) answer.")
	a.says(".history", "to see whether the old one was better")
	a.seen("traffic-canary")
	a.follow("[aria-labelledby=back] button")
	a.says("main", "Roll back?", "version 3 will answer the calls of donor-reply")
	a.follow("main .primary")
	a.says(".shares", "Version 3", "100 %")
	a.says(".history", "rolled back")
	traffic, err := a.api.Traffic(t.Context(), "donor-reply")
	if err != nil || traffic.Largest() != 3 || len(traffic.Versions) != 1 {
		t.Errorf("%+v %v", traffic, err)
	}

	// Back and reload stay where they were.
	a.do(chromedp.Evaluate[chromedp.Void]("history.back()")) // out of the browser's memory: nothing is loaded
	a.wait("location.pathname.endsWith('/traffic/change')")
	a.do(chromedp.Reload())
	a.whole()
	a.says("main", "Roll back?")

	a.open("/models/no-such-model")
	a.says("main", "404", "Not found", "no-such-model")
	a.seen("not-found")
	a.open("/sign-in?to=/models/donor-reply")
	a.seen("sign-in")
	a.forgive("404 (Not Found)")
}

// TestThePageStaysInTheThemeThatWasChosen: the toggle is kept by a cookie.
func TestThePageStaysInTheThemeThatWasChosen(t *testing.T) {
	a, _ := newVisitor(t, donors)
	a.open("/")
	a.follow(".theme button[value=dark]")
	a.open("/models/donor-reply")
	if theme := read[string](a, "document.documentElement.dataset.theme || ''"); theme != "dark" {
		t.Errorf("the theme is %q", theme)
	}
}
