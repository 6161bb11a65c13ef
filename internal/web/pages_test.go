package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// every page that can be reached by GET.
var everyPage = []string{
	"/", "/?q=a&owner=o&label=" + url.QueryEscape(hostile+"="+hostile) + "&page=x", "/?q=" + url.QueryEscape(hostile), "/sign-in", "/sign-in?to=" + url.QueryEscape(hostile),
	"/models/scorer", "/models/scorer/versions", "/models/scorer/versions/2", "/models/scorer/versions/2/logs",
	"/models/scorer/compare", "/models/scorer/compare?from=1&to=2&predictions=1", "/models/scorer/traffic", "/models/scorer/traffic?version=1",
	"/models/scorer/traffic/change?do=promote&version=1", "/models/scorer/traffic/change?do=canary&version=1&percent=10", "/models/scorer/traffic/change?do=rollback",
	"/models/scorer/try", "/models/scorer/try?example=1", "/models/scorer/try?example=1&version=1",
	"/models/" + url.PathEscape(hostile), "/models/scorer/versions/x", "/nothing/" + url.PathEscape(hostile), "/models/scorer/traffic/change?do=" + url.QueryEscape(hostile),
}

// check looks at all of a page's elements.
func check(t *testing.T, page string, body string) {
	t.Helper()
	document, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatalf("%s: %v", page, err)
	}
	ids := map[string]bool{}
	var visit func(node *html.Node, inCard bool)
	visit = func(node *html.Node, inCard bool) {
		attribute := map[string]string{}
		for _, a := range node.Attr {
			attribute[a.Key] = a.Val
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") || strings.HasPrefix(a.Key, "hx-on") || inCard && strings.HasPrefix(a.Key, "hx-") {
				t.Errorf("%s: <%s %s=%q>", page, node.Data, a.Key, a.Val)
			}
			if slices.Contains([]string{"href", "src", "action", "hx-get", "hx-post"}, a.Key) {
				target, err := url.Parse(a.Val)
				if err != nil || target.Scheme != "" && !(inCard && target.Scheme == "https") || target.Host != "" && !inCard {
					t.Errorf("%s: <%s %s=%q> leads elsewhere", page, node.Data, a.Key, a.Val)
				}
			}
		}
		if node.Type == html.ElementNode {
			switch node.Data {
			case "script":
				if !strings.HasPrefix(attribute["src"], "/assets/") || node.FirstChild != nil {
					t.Errorf("%s has a script of its own", page)
				}
			case "style", "iframe", "img", "object", "embed", "base":
				t.Errorf("%s has <%s>", page, node.Data)
			case "form":
				if strings.EqualFold(attribute["method"], "post") && !hasToken(node) {
					t.Errorf("%s: the form to %s has no token", page, attribute["action"])
				}
				if inCard {
					t.Errorf("%s: a card has a form", page)
				}
			}
			if id := attribute["id"]; id != "" {
				if ids[id] {
					t.Errorf("%s: two elements have the id %s", page, id)
				}
				ids[id] = true
			}
			_, disabled := attribute["hx-disable"]
			inCard = inCard || disabled
		}
		for child := node.FirstChild; child != nil; child = child.NextSibling {
			visit(child, inCard)
		}
	}
	visit(document, false)
}

func hasToken(node *html.Node) bool {
	for _, a := range node.Attr {
		if node.Data == "input" && a.Key == "name" && a.Val == "csrf" {
			return true
		}
	}
	for child := node.FirstChild; child != nil; child = child.NextSibling {
		if hasToken(child) {
			return true
		}
	}
	return false
}

func TestNoTextBecomesPartOfAPage(t *testing.T) {
	b := newBrowser(t, newWeb(t, hostileAPI(t)))
	for _, part := range []string{"", "true"} {
		if part != "" {
			b.header.Set("HX-Request", part)
		}
		for _, page := range everyPage {
			answer := b.get(page)
			if answer.Code >= 500 || answer.Code == 0 {
				t.Errorf("%s: %d", page, answer.Code)
			}
			check(t, page, answer.Body.String())
		}
	}
}

func TestEveryAnswerIsGuarded(t *testing.T) {
	b := newBrowser(t, newWeb(t, hostileAPI(t)))
	for _, page := range append(everyPage, "/favicon.ico", "/models") {
		header := b.get(page).Header()
		if header.Get("Content-Security-Policy") != policy || header.Get("X-Content-Type-Options") != "nosniff" ||
			header.Get("X-Frame-Options") != "DENY" || header.Get("Referrer-Policy") != "same-origin" {
			t.Errorf("%s: %v", page, header)
		}
	}
	for _, never := range []string{"unsafe", "http", "*", "blob"} {
		if strings.Contains(policy, never) {
			t.Errorf("the policy has %q", never)
		}
	}
}

func TestACardIsCleaned(t *testing.T) {
	got, err := newCardRenderer().render([]byte(hostileCard))
	if err != nil {
		t.Fatal(err)
	}
	for _, never := range []string{"<script", "onerror", "onclick", "evil.example", "javascript:", "data:", "<img", "<form", "<style", "<svg", "style=", "hx-", "<h1", "target="} {
		if strings.Contains(string(got), never) {
			t.Errorf("the card has %q:\n%s", never, got)
		}
	}
	for _, want := range []string{`<a href="https://example.org/a" rel="nofollow noreferrer noopener">good</a>`, "<table>", "<td>1</td>"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("the card lacks %q:\n%s", want, got)
		}
	}
}

func TestHead(t *testing.T) {
	server := httptest.NewServer(newWeb(t, hostileAPI(t)))
	defer server.Close()
	for _, page := range []string{"/", "/models/scorer", "/models/scorer/try"} {
		response, err := server.Client().Head(server.URL + page)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("%s: %s %v", page, response.Status, response.Header)
		}
	}
}

func TestWhatIsNoPage(t *testing.T) {
	web := newWeb(t, hostileAPI(t))
	b := newBrowser(t, web)
	if answer := b.get("/nothing"); answer.Code != http.StatusNotFound || !strings.Contains(answer.Body.String(), "<h1>Not found</h1>") {
		t.Errorf("a person: %d %s", answer.Code, answer.Body)
	}
	b.header.Set("Accept", "*/*")
	if answer := b.get("/nothing"); answer.Code != http.StatusNotFound || answer.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("a program: %d %v", answer.Code, answer.Header())
	}
	if answer := b.do(http.MethodPost, "/v1/unknown", url.Values{}); answer.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("the API: %v", answer.Header())
	}
}

func TestAssets(t *testing.T) {
	web := newWeb(t, hostileAPI(t))
	for name, file := range web.assets.byName {
		b := newBrowser(t, web)
		b.header.Set("Accept-Encoding", "br, gzip")
		answer := b.get(web.assets.url(name))
		if answer.Code != 200 || answer.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" ||
			answer.Header().Get("Content-Encoding") != "gzip" || answer.Header().Get("Content-Type") != file.contentType || file.contentType == "" {
			t.Errorf("%s: %d %v", name, answer.Code, answer.Header())
		}
		if answer := b.get("/assets/0000000000000000/" + name); answer.Code != http.StatusNotFound || answer.Header().Get("Cache-Control") != "" {
			t.Errorf("%s of another hash: %d %v", name, answer.Code, answer.Header())
		}
	}
}

func TestEncodings(t *testing.T) {
	for accept, want := range map[string]string{
		"": "", "gzip": "gzip", "gzip, zstd": "zstd", "gzip;q=0, zstd;q=0.0": "", "gzip;q=0.5": "gzip", "br": "", "gzip ; q=1": "gzip", "*": "",
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept-Encoding", accept)
		if got := encodingFor(r); got != want {
			t.Errorf("%q: %q, want %q", accept, got, want)
		}
	}
}
