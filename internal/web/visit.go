package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"modelmanager.dev"
	"modelmanager.dev/client"
	"modelmanager.dev/internal/problem"
)

// visit is one request of a visitor.
type visit struct {
	web     *Web
	w       http.ResponseWriter
	r       *http.Request
	session session
	back    string // where to go on after an error; "": nowhere of its own
}

// ctx carries the visitor's token to the API.
func (v *visit) ctx() context.Context { return v.r.Context() }

// api is the API's client, for calls with ctx.
func (v *visit) api() *client.Client { return v.web.client }

// query returns a parameter of the address.
func (v *visit) query(name string) string { return v.r.URL.Query().Get(name) }

// wantsPart tells whether htmx asks for a part of a page, not for the page.
func (v *visit) wantsPart() bool {
	return v.r.Header.Get("HX-Request") == "true" && v.r.Header.Get("HX-History-Restore-Request") != "true"
}

// Headers between the pages and their scripts. What comes without them is from
// something in between, and is shown to nobody.
const (
	liveHeader = "Mm-Live" // of a look that keeps a page up to date, and its answer
	partHeader = "Mm-Part" // of a part of a page
)

// live tells whether a script looks how the page is now.
func (v *visit) live() bool { return v.r.Header.Get(liveHeader) != "" }

// How long a page waits for what other servers know: somebody who opens it gets
// at once what this one knows, and its script asks for the rest.
const (
	waitAtFirst = 30 * time.Millisecond
	waitForAll  = 2 * time.Second
)

// patience is how long that is for this visit, and whether it is all the time
// that there is.
func (v *visit) patience() (wait time.Duration, full bool) {
	if v.live() || v.query("wait") != "" {
		return waitForAll, true
	}
	return waitAtFirst, false
}

// frame is what templates are given: what every page has, and the page's own.
type frame struct {
	Title   string // of the browser's window
	Section string // which entry of the navigation is the present one
	Path    string // with the query
	Theme   string // light, dark, or "" for the browser's own
	User    string // who is signed in; "": nobody has to
	Note    string // what has just been done
	Version string // of the program
	Part    bool   // htmx has asked for a part of the page
	Page    any    // the page's own

	visit *visit
}

// CSRF is the token that every form that posts has in a hidden field.
func (f *frame) CSRF() string { return f.visit.token() }

func (v *visit) frame(section, title string, data any) *frame {
	f := &frame{
		Title: title, Section: section, Path: v.r.URL.RequestURI(), Version: v.web.Version, Page: data, visit: v,
	}
	if cookie, err := v.r.Cookie(themeCookie); err == nil && (cookie.Value == "light" || cookie.Value == "dark") {
		f.Theme = cookie.Value
	}
	if v.session.Token != "" {
		f.User = "signed in"
		if v.web.Who != nil {
			if name, err := v.web.Who(v.ctx(), v.session.Token); err == nil {
				f.User = name
			}
		}
	}
	return f
}

// page answers with a page: templates/NAME.html in the frame that all have.
// section is the entry of the navigation that it belongs to.
func (v *visit) page(name, section, title string, data any) error {
	return v.pageStatus(http.StatusOK, name, section, title, data)
}

// pageStatus is page with another status than 200.
func (v *visit) pageStatus(status int, name, section, title string, data any) error {
	f := v.frame(section, title, data)
	if cookie, err := v.r.Cookie(noteCookie); err == nil && !v.live() {
		if v.web.unseal(noteCookie, cookie.Value, &f.Note) {
			v.setCookie(noteCookie, "", 0)
		}
	}
	return v.render(status, name, "page", f)
}

// part answers with one block of a page's template.
func (v *visit) part(name, block string, data any) error {
	return v.partStatus(http.StatusOK, name, block, data)
}

func (v *visit) partStatus(status int, name, block string, data any) error {
	f := v.frame("", "", data)
	f.Part = true
	v.w.Header().Set(partHeader, "1")
	return v.render(status, name, block, f)
}

// render answers with a template, whole or not at all.
func (v *visit) render(status int, name, block string, f *frame) error {
	body := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(body)
	body.Reset()
	if err := v.web.execute(body, name, block, f); err != nil {
		return err
	}
	header := v.w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cache-Control", "no-cache, private")
	if v.session.Token != "" {
		header.Set("Cache-Control", "no-store")
	}
	header.Set("Vary", "Accept-Encoding, Cookie, HX-Request, "+liveHeader)
	if v.live() {
		header.Set(liveHeader, "1")
	}
	return v.send(status, body.Bytes())
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// send writes a body, compressed if it is worth it.
func (v *visit) send(status int, body []byte) error {
	encoding := encodingFor(v.r)
	if len(body) < 1000 {
		encoding = ""
	}
	if encoding != "" {
		v.w.Header().Set("Content-Encoding", encoding)
	}
	v.w.WriteHeader(status)
	// A visitor who is gone is no failure of ours.
	switch encoding {
	case "zstd":
		writer := zstdWriters.Get().(*zstd.Encoder)
		defer zstdWriters.Put(writer)
		writer.Reset(v.w)
		_, _ = writer.Write(body)
		_ = writer.Close()
	case "gzip":
		writer := gzipWriters.Get().(*gzip.Writer)
		defer gzipWriters.Put(writer)
		writer.Reset(v.w)
		_, _ = writer.Write(body)
		_ = writer.Close()
	default:
		_, _ = v.w.Write(body)
	}
	return nil
}

var gzipWriters = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

var zstdWriters = sync.Pool{New: func() any {
	writer, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<18))
	if err != nil { // of options that are constant
		panic(err)
	}
	return writer
}}

// redirect sends the visitor to another page after something was done; note
// says what, on that page.
func (v *visit) redirect(path, note string) error {
	if note != "" {
		if text, err := v.web.sealed(noteCookie, note); err == nil {
			v.setCookie(noteCookie, text, 60)
		}
	}
	if v.wantsPart() {
		v.w.Header().Set("HX-Redirect", path)
		v.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	http.Redirect(v.w, v.r, path, http.StatusSeeOther)
	return nil
}

// fail answers with what went wrong. Who isn't known is asked to sign in.
func (v *visit) fail(err error) {
	p := problem.Of(err)
	switch {
	case v.r.Context().Err() != nil && errors.Is(err, context.Canceled):
		return // nobody is there any more
	case p.Code == modelmanager.CodeUnauthenticated:
		v.askToSignIn(p.Detail)
		return
	case p.Code == modelmanager.CodeInternal:
		v.web.Logger.ErrorContext(v.ctx(), "a page failed", "method", v.r.Method, "path", v.r.URL.Path, "error", err)
	}
	data := errorPage{Problem: p, Advice: advice[p.Code], RetryAfter: problem.RetryAfter(err), Back: v.back}
	if v.wantsPart() || v.live() {
		if data.Renewed = errors.Is(err, errRenewed); data.Renewed {
			data.Title, data.Detail, data.Advice = "Nothing was sent", sentence(data.Detail), ""
		}
		err = v.partStatus(p.Status, "error", "alert", data)
	} else {
		err = v.pageStatus(p.Status, "error", "", p.Title, data)
	}
	if err != nil {
		v.web.Logger.ErrorContext(v.ctx(), "the page of an error failed", "error", err)
		http.Error(v.w, "Model Manager failed; the server's log says why", http.StatusInternalServerError)
	}
}

// errorPage is what the page of an error shows.
type errorPage struct {
	problem.Problem
	Advice     string // what the visitor can do
	RetryAfter int    // seconds; 0: no use
	Back       string // where to go on; "": nowhere of its own
	SignIn     string // where to sign in again without losing what was typed
	Renewed    bool   // the form can be sent again with the token of this answer
}

// advice says what to do about an error, where its own words don't.
var advice = map[modelmanager.Code]string{
	modelmanager.CodeForbidden:        "If you need this for your work, send the sentence above to whoever runs this server.",
	modelmanager.CodeNotFound:         "It may have been renamed, or the link may be incomplete. The catalogue has every model.",
	modelmanager.CodeRetired:          "A retired model answers no more. Its owner can publish a version, which brings it back.",
	modelmanager.CodeUnavailable:      "This passes by itself; try again in a moment.",
	modelmanager.CodeDeadlineExceeded: "The model may still be starting; try again in a moment.",
	modelmanager.CodeInternal:         "This is a fault of the server's, not yours. Tell whoever runs it when it happened; its log says why.",
	modelmanager.CodeStorage:          "The server's storage failed, which is nothing you did. Tell whoever runs it when it happened.",
	modelmanager.CodeTooManyRequests:  "There are more calls than the server takes at once; try again in a moment.",
	modelmanager.CodeConflict:         "Somebody may have been faster. See how things are now, and decide again.",
}

// localPath returns where a link of our own leads, or "/" for one that would
// lead elsewhere.
func localPath(text string) string {
	target, err := url.Parse(text)
	if err != nil || target.Scheme != "" || target.Host != "" || target.User != nil ||
		!strings.HasPrefix(text, "/") || strings.HasPrefix(text, "//") || strings.ContainsAny(text, "\\\r\n\t") {
		return "/"
	}
	return text
}
