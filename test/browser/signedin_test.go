package browser_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"modelmanager.dev/internal/auth"
	"modelmanager.dev/test/oidcprovider"
)

// Two people of the provider: who may do everything, and who may look.
const (
	ada = oidcprovider.User
	ben = oidcprovider.Second
)

var everybody = rights{ada: auth.Verbs(), ben: {auth.Get, auth.List}}

// signIn goes from the page to the provider and back, as somebody.
func (a *analyst) signIn(person string) {
	a.t.Helper()
	a.follow("#provider")
	a.do(chromedp.WaitVisible(chromedp.CSS("input[name=username]")))
	a.typeInto("input[name=username]", oidcprovider.Username(person))
	a.typeInto("input[name=password]", oidcprovider.Password)
	a.do(chromedp.Click(chromedp.CSS("button[type=submit]")))
	a.wait(fmt.Sprintf("location.origin === %q && document.readyState === 'complete'", a.server))
	a.whole()
	a.says("form.who", person, "Sign out")
}

// TestTwoPeopleAtTwoServers: who signs in at one server is known to the other,
// and what one began the other goes on with; each person may do what their
// rights say, and is told so where they don't.
func TestTwoPeopleAtTwoServers(t *testing.T) {
	a, servers := newMember(t, everybody, donors)
	a.open("/models/donor-reply/try?example=1")
	a.says("main", "Sign in", "Sign in with Meadow Login", "Or with a token")
	a.seen("sign-in-provider")
	a.signIn(ada)
	if where := read[string](a, "location.pathname + location.search"); where != "/models/donor-reply/try?example=1" {
		t.Errorf("signing in leads to %s", where)
	}

	// Ask a model, and predict a file.
	a.do(chromedp.Click(chromedp.CSS("#try-form .primary")))
	a.wait("document.querySelector('.answer') !== null")
	a.says("#answer", "reply", "Answered by version 1")
	a.seen("signed-in")
	file := filepath.Join(t.TempDir(), "givers.csv")
	if err := os.WriteFile(file, []byte(givers), 0o600); err != nil {
		t.Fatal(err)
	}
	a.open("/models/donor-reply/batch")
	a.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{file}), chromedp.Click(chromedp.CSS("form[data-upload] button.primary")))
	a.until("location.search.indexOf('upload=') > 0 && document.readyState === 'complete'")
	a.says("#verdict", "Of all 3 rows, every one fits.")
	a.clickText("#verdict button", "Predict this file")
	a.until("location.pathname.indexOf('/jobs/') === 0 && document.getElementById('get') !== null")
	a.says("main", "for "+ada, "Every row was predicted.")
	job := read[string](a, "location.pathname")
	result, err := chromedp.Run(a.ctx, chromedp.Evaluate[string]("fetch(document.querySelector('.downloads a.primary').href).then(r => r.text())", chromedp.EvalAwaitPromise))
	if lines := strings.Split(strings.TrimSpace(result), "\n"); err != nil || len(lines) != 4 || !strings.HasPrefix(lines[1], "d-1,50,14,") {
		t.Errorf("the result is %q (%v)", result, err)
	}
	a.open(job)
	a.open(job)
	a.open("/jobs?mine=1")
	a.says(".jobs-table", "givers.csv", ada)
	a.open("/jobs?mine=1")
	a.says(".jobs-table", "givers.csv", ada)
	for _, request := range []string{"GET " + job, "GET /jobs"} {
		if !servers.both(request) {
			t.Errorf("one of the servers was never asked %s", request)
		}
	}
	a.follow("form.who button")
	a.says("main", "You are signed out.", "Sign in with Meadow Login")
	a.open(job)
	a.says("h1", "Sign in")

	// Somebody else sees it, and may not have or do anything.
	a.signIn(ben)
	a.says("main", "for "+ada, "Every row was predicted.")
	a.open("/jobs")
	a.says(".jobs-table", "givers.csv", ada)
	a.do(chromedp.SetValue(chromedp.CSS("#mine"), "1"), chromedp.Evaluate[chromedp.Void]("document.querySelector('#mine').dispatchEvent(new Event('change', {bubbles: true}))"))
	a.wait("document.querySelector('#results .empty') !== null")
	a.says("#results", "No job is like that")
	a.open("/models/donor-reply/try?example=1")
	a.do(chromedp.Click(chromedp.CSS("#try-form .primary")))
	a.wait("document.querySelector('#try [role=alert]') !== null")
	a.says("#try [role=alert]", ben+" may not predict the model donor-reply", "the operator can grant the verb predict")
	a.seen("try-forbidden")
	a.open("/models/donor-reply/traffic/change?do=promote&version=1")
	a.follow("main .primary")
	a.says("main", "403", "Not allowed", ben+" may not promote the model donor-reply", "send the sentence above to whoever runs this server")
	a.seen("forbidden")
	a.follow("form.who button")
	a.says("main", "You are signed out.")
	a.forgive("403 (Forbidden)")
	a.forgive("404 (Not Found)") // the provider's icon
}
