package browser_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	"modelmanager.dev"
)

// gate stands between a browser and its server, as a proxy does, and can shut.
type gate struct {
	mu     sync.Mutex
	shut   string // the beginning of the paths that get no answer; "": none
	forget bool   // the next form comes without cookies
	hits   map[string]int
}

// behind puts a gate before the server.
func (a *analyst) behind() *gate {
	a.t.Helper()
	target, err := url.Parse(a.server)
	if err != nil {
		a.t.Fatal(err)
	}
	g := &gate{hits: map[string]int{}}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.hits[r.URL.Path]++
		shut := g.shut != "" && strings.HasPrefix(r.URL.Path, g.shut)
		if g.forget && r.Method == http.MethodPost {
			g.forget = false
			r.Header.Del("Cookie")
		}
		g.mu.Unlock()
		if shut {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, "<html><body><main><h1>Bad gateway</h1></main></body></html>")
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	a.t.Cleanup(server.Close)
	a.server = server.URL
	return g
}

func (g *gate) close(path string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = path
}

func (g *gate) loseCookies() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget = true
}

func (g *gate) asked(path string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hits[path]
}

// TestAPageOutlivesItsServer: a page that is kept up to date stays as it is
// while there is no answer, says so, and goes on; it takes nobody's focus, and
// can be paused.
func TestAPageOutlivesItsServer(t *testing.T) {
	a, _ := newVisitor(t, donors, iris)
	g := a.behind()
	a.open("/operations")
	a.wait("document.querySelector('.livebar span').textContent === 'Kept up to date.'")
	a.seen("operations-idle")
	a.do(chromedp.Evaluate[chromedp.Void]("document.querySelector('.figures a').focus()"))
	a.says("main", "Models asleep 2 of 2")
	row := []byte(`{"rows": [{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}]}`)
	response, err := http.Post(a.server+"/v1/models/"+model+"/predict", "application/json", strings.NewReader(string(row)))
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%v %v", response, err)
	}
	response.Body.Close()
	a.wait("document.querySelector('main').innerText.includes('iris-species-go v1')")
	if focused := read[string](a, "document.activeElement.getAttribute('href')"); focused != "/?health=idle" {
		t.Errorf("the focus went to %q", focused)
	}

	g.close("/operations")
	a.wait("document.querySelector('.livebar').classList.contains('stale')")
	a.says(".livebar", "Not up to date since", "there is no answer from the server")
	a.says("main", "iris-species-go v1", "In trouble")
	a.seen("operations-stale")
	g.close("")
	a.wait("document.querySelector('.livebar span').textContent === 'Kept up to date.'")
	a.says("#said", "This page is up to date again.")

	a.do(chromedp.Click(chromedp.CSS(".livebar button")))
	a.says(".livebar", "Paused. This was so at", "Go on updating")
	a.do(chromedp.Reload())
	a.wait("document.querySelector('.livebar span').textContent.startsWith('Paused')")
	before := g.asked("/operations")
	a.do(chromedp.Click(chromedp.CSS(".livebar button")))
	a.wait("document.querySelector('.livebar span').textContent === 'Kept up to date.'")
	a.eventually("the page looks again", func(ctx context.Context) (bool, error) { return g.asked("/operations") > before, ctx.Err() })
	a.forgive("502")
}

// TestASearchThatFailsLeavesWhatWasFound: and the next one works.
func TestASearchThatFailsLeavesWhatWasFound(t *testing.T) {
	a, _ := newVisitor(t, donors, iris)
	g := a.behind()
	a.open("/")
	a.typeInto("#q", strings.Repeat("a ", 21))
	a.wait("document.querySelector('[data-complaint]') !== null")
	a.says("[data-complaint]", "21 words, the limit is 20")
	a.says("#results", "donor-reply", "iris-species-go")
	a.seen("catalogue-refused")
	a.typeInto("#q", "iris")
	a.wait("document.querySelectorAll('.models > li').length === 1 && document.querySelector('[data-complaint]') === null")
	g.close("/")
	a.typeInto("#q", "donor")
	a.wait("document.querySelector('[data-complaint]') !== null")
	a.says("[data-complaint]", "There is no answer from the server.")
	a.says("#results", "iris-species-go")
	g.close("")
	a.typeInto("#q", "donors")
	a.wait("document.querySelector('[data-complaint]') === null")
	a.says("#found", "Nothing was found")
	a.forgive("400 (Bad Request)")
	a.forgive("502")
}

// TestAJobIsFollowedWithoutItsStream: where the stream of events gets another
// answer, the page looks by itself.
func TestAJobIsFollowedWithoutItsStream(t *testing.T) {
	a, models := newVisitor(t, donors)
	g := a.behind()
	answers := a.holds(models, 2)
	answers.off(t)
	upload, err := a.api.Upload(t.Context(), "donors.csv", strings.NewReader("last_gift,gifts,first_gift_on,region,newsletter,age,channel,last_three_years.2023,last_three_years.2024,last_three_years.2025\n50,14,2016-11-02,north,true,61,letter,120,150,50\n"))
	if err != nil {
		t.Fatal(err)
	}
	job, err := a.api.SubmitJob(t.Context(), "donor-reply", modelmanager.JobRequest{Input: modelmanager.JobInput{Upload: upload.ID, Name: "donors.csv"}, Version: 2}, "")
	if err != nil {
		t.Fatal(err)
	}
	live := "/jobs/" + job.ID + "/live"
	g.close(live)
	a.open("/jobs/" + job.ID)
	a.eventually("the stream is tried again", func(ctx context.Context) (bool, error) {
		return g.asked(live) > 1 && g.asked("/jobs/"+job.ID) > 2, ctx.Err()
	})
	answers.on(t)
	a.wait("document.getElementById('get') !== null && document.querySelector('.livebar') === null")
	a.says("main", "Done", "Every row was predicted.")
	a.forgive("502")
	a.forgive("EventSource")
}

// TestNothingTypedIsLostWithTheSession: a form whose session has ended says so
// beside what was typed, and can be sent again.
func TestNothingTypedIsLostWithTheSession(t *testing.T) {
	a, _ := newVisitor(t, donors)
	g := a.behind()
	a.open("/models/donor-reply/try?example=1")
	a.typeInto("#f-last_gift", "75")
	g.loseCookies()
	a.do(chromedp.Click(chromedp.CSS("#try-form .primary")))
	a.wait("document.querySelector('#try-form [data-complaint]') !== null")
	a.says("[data-complaint]", "Nothing was sent. The form was of an earlier session.", "do it once more")
	a.seen("try-session")
	if value := read[string](a, "document.querySelector('#f-last_gift').value"); value != "75" {
		t.Errorf("what was typed is %q", value)
	}
	a.do(chromedp.Click(chromedp.CSS("#try-form .primary")))
	a.wait("document.querySelector('.answer') !== null && document.querySelector('[data-complaint]') === null")
	a.says("details[name=code] code, #answer", "reply")
	a.forgive("403")
}

// TestAPromotedVersionThatCantStart: the page says that the old one goes on
// answering, and why.
func TestAPromotedVersionThatCantStart(t *testing.T) {
	a, models := newVisitor(t, donors)
	needed := filepath.Join(t.TempDir(), "needed")
	if err := os.WriteFile(needed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(models, "donor-reply")
	source, err := os.ReadFile(filepath.Join(folder, "predict.py"))
	if err != nil {
		t.Fatal(err)
	}
	yaml, err := os.ReadFile(filepath.Join(folder, "model.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("predict.py", fmt.Sprintf("import os\n\nif not os.path.exists(%q):\n    raise RuntimeError(\"the reference table is gone\")\n\n%s", needed, source))
	write("model.yaml", string(yaml)+"\nrollout: {strategy: manual}\n")
	a.eventually("version 2", func(ctx context.Context) (bool, error) {
		info, err := a.api.Model(ctx, "donor-reply")
		return err == nil && info.Latest == 2, err
	})
	if err := os.Remove(needed); err != nil {
		t.Fatal(err)
	}
	row := `{"last_gift": 50, "gifts": 14, "first_gift_on": "2016-11-02", "region": "north", "newsletter": true, "age": 61, "channel": "letter", "last_three_years": [120, 150, 50]}`
	if _, err := a.api.Predict(t.Context(), "donor-reply", 0, modelmanager.PredictRequest{Rows: []json.RawMessage{json.RawMessage(row)}}); err != nil {
		t.Fatal(err)
	}
	a.open("/models/donor-reply/traffic/change?do=promote&version=2")
	a.follow("main .primary")
	a.wait("document.querySelector('#pending') !== null && document.querySelector('#pending').innerText.includes('the reference table is gone')")
	a.says("#pending", "The last change isn’t in force yet: that version 2 answers", "version 1 goes on answering")
	a.says(".shares", "Version 1", "100 %", "Ready")
	a.says(".history", "not in force yet")
	a.says("main", "Something is wrong with it.")
	a.seen("traffic-pending")
	a.open("/models/donor-reply")
	a.says("main", "version 1", "version 2, as soon as it is ready", "Degraded")
	a.seen("model-pending")
}
