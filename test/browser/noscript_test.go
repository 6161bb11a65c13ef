package browser_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"modelmanager.dev"
)

// givers is a spreadsheet of donors as an English one saves it.
const givers = `Donor,last_gift,gifts,first_gift_on,region,newsletter,age,channel,last_three_years.2023,last_three_years.2024,last_three_years.2025
d-1,50,14,2016-11-02,north,true,61,letter,120,150,50
d-2,10,1,2026-06-15,south,false,,street,0,0,0
d-3,200,3,2011-01-20,west,true,78,telephone,200,0,0
`

// scripts turns the scripts of pages off, and on. The test's own questions go on
// without, but nothing of theirs that takes a while.
func (a *analyst) scripts(on bool) {
	a.t.Helper()
	if _, err := chromedp.Call(a.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on}); err != nil {
		a.t.Fatal(err)
	}
}

// seenWithoutScripts is seen, of a page that has come without them.
func (a *analyst) seenWithoutScripts(name string) {
	a.t.Helper()
	a.scripts(true) // axe's; those of the page that is there don't run any more
	a.seen(name)
	a.scripts(false)
}

// now is the link of a page that can't keep itself up to date.
const now = "noscript a"

// later looks again, by the page's own link or else by loading it anew, until an
// expression is true.
func (a *analyst) later(expression string) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.ctx, patience)
	defer cancel()
	for !read[bool](a, expression) {
		if ctx.Err() != nil {
			a.shot("failed")
			a.t.Fatalf("it never came to this: %s; the page is %s and says %.1000q", expression, a.address(), a.text("main"))
		}
		if read[bool](a, fmt.Sprintf("document.querySelector(%q) !== null", now)) {
			a.follow(now)
		} else {
			a.do(chromedp.Reload())
			a.whole()
		}
	}
}

// clickText follows the link or presses the button of this text.
func (a *analyst) clickText(selector, text string) {
	a.t.Helper()
	mark := fmt.Sprintf(`(function () {
	document.querySelectorAll('[data-test]').forEach(e => e.removeAttribute('data-test'));
	const found = [...document.querySelectorAll(%q)].find(e => e.textContent.trim().startsWith(%q));
	if (found) found.setAttribute('data-test', '');
	return found !== undefined;
})()`, selector, text)
	if !read[bool](a, mark) {
		a.t.Fatalf("%s has no %s that says %q, but %.1000q", a.address(), selector, text, a.text("main"))
	}
	a.follow("[data-test]")
}

// TestEverythingWorksWithoutScripts: find a model, ask it, predict a file, take
// the result, promote a version and cancel a job, by links and forms alone.
func TestEverythingWorksWithoutScripts(t *testing.T) {
	a, models := newVisitor(t, donors, iris)
	folder := filepath.Join(models, "donor-reply")
	yaml, err := os.ReadFile(filepath.Join(folder, "model.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "model.yaml"), append(yaml, "\nrollout: {strategy: manual}\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	a.eventually("version 2", func(ctx context.Context) (bool, error) {
		info, err := a.api.Model(ctx, "donor-reply")
		return err == nil && info.Latest == 2, err
	})
	answers := a.holds(models, 3)
	a.scripts(false)

	// Find it.
	a.open("/")
	a.typeInto("#q", "donor reply")
	a.clickText("form.search button", "Search")
	a.says("#found", "1 model")
	a.says("#results", "donor-reply")
	a.clickText(".models a", "donor-reply")

	// Ask it, from an example with a change; the first question wakes it.
	a.clickText(".tabs a", "Try it")
	a.clickText(".samples a", "A loyal donor")
	a.typeInto("#f-last_gift", "-5")
	a.do(chromedp.Evaluate[chromedp.Void]("document.querySelector('#try-form').noValidate = true"))
	a.clickText("#try-form button", "Ask")
	a.says("#f-last_gift-wrong", "below the minimum, 0")
	a.typeInto("#f-last_gift", "75")
	a.clickText("#try-form button", "Ask")
	for read[bool](a, "document.querySelector('.answer') === null") && read[bool](a, "document.querySelector('.waking') !== null") {
		a.clickText("#try-form button", "Ask") // it is still waking up
	}
	a.says("#answer", "reply", "that is 9", "loyal", "Answered by version 1 in")
	a.seenWithoutScripts("without-scripts-answer")

	// Predict a file.
	a.clickText(".tabs a", "A whole file")
	file := filepath.Join(t.TempDir(), "givers.csv")
	if err := os.WriteFile(file, []byte(givers), 0o600); err != nil {
		t.Fatal(err)
	}
	a.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{file}))
	a.clickText("form[data-upload] button", "Upload and look at it")
	a.says("#verdict", "Of all 3 rows, every one fits.")
	a.seenWithoutScripts("without-scripts-check")
	a.clickText("#verdict button", "Predict this file")
	a.later("document.getElementById('get') !== null")
	a.says("main", "Done", "Every row was predicted.")
	data, name := a.fetch(".downloads a.primary")
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if !strings.Contains(name, "givers-predicted.csv") || len(lines) != 4 || !strings.HasPrefix(lines[0], "Donor,last_gift,") || !strings.HasPrefix(lines[3], "d-3,200,3,2011-01-20,west,") {
		t.Errorf("%s: %q", name, lines)
	}

	// Promote a version.
	a.open("/models/donor-reply")
	a.clickText(".tabs a", "Traffic")
	a.do(chromedp.SetValue(chromedp.CSS("#promote-version"), "3"))
	a.clickText("[aria-labelledby=promote] button", "Promote")
	a.says("main", "Now, version 1 answers.")
	a.typeInto("#reason", "it waits for the word")
	a.follow("main .primary")
	a.says(".history", "it waits for the word")
	a.later("[...document.querySelectorAll('.shares li')].some(e => e.innerText.includes('Version 3') && e.innerText.includes('100 %'))")
	a.says(".shares", "Version 3", "100 %")

	// Cancel a job.
	answers.off(t)
	upload, err := a.api.Upload(t.Context(), "givers.csv", strings.NewReader(givers))
	if err != nil {
		t.Fatal(err)
	}
	job, err := a.api.SubmitJob(t.Context(), "donor-reply", modelmanager.JobRequest{Input: modelmanager.JobInput{Upload: upload.ID, Name: "givers.csv"}}, "")
	if err != nil {
		t.Fatal(err)
	}
	a.open("/jobs")
	a.do(chromedp.SetValue(chromedp.CSS("#state"), "running"))
	a.clickText("form.search button", "Show")
	a.later("document.querySelector('.jobs-table') !== null")
	a.clickText(".jobs-table a", "givers.csv")
	a.says("main", "version 3")
	a.do(chromedp.Click(chromedp.CSS("details.confirm summary")))
	a.says(now, "See how it is now")
	a.seenWithoutScripts("without-scripts-cancel")
	a.clickText("details.confirm[open] button", "Cancel the job")
	a.later("document.querySelector('.jobstate.cancelled') !== null")
	a.says("main", "What it had predicted until then was thrown away.")
	ended, err := a.api.Job(t.Context(), job.ID)
	if err != nil || ended.State != modelmanager.JobCancelled {
		t.Errorf("%s %v", ended.State, err)
	}

	a.forgive("422") // what was wrong with the first question
	// No script has run.
	if read[bool](a, "typeof htmx !== 'undefined' || typeof modelManager !== 'undefined'") {
		t.Error("a script of the page ran")
	}
}
