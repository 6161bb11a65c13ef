package web

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/problem"
)

func (w *Web) mountSession() {
	w.get("/sign-in", (*visit).showSignIn)
	w.post("/sign-in", (*visit).signIn)
	if w.Provider != nil {
		w.get("/sign-in/provider", (*visit).leaveForProvider)
		w.get(callbackPath, (*visit).backFromProvider)
	}
	w.post("/sign-out", (*visit).signOut)
	w.post("/theme", (*visit).setTheme)
}

// signInPage is the page that takes a token, or sends people to the provider.
type signInPage struct {
	To       string // where the visitor wanted to go
	Problem  string
	Provider string // its name; "": there is none
	Link     string // leads there
}

func (v *visit) signInPage(to, reason string) signInPage {
	p := signInPage{To: to, Problem: reason}
	if v.web.Provider != nil {
		p.Provider = v.web.Provider.Name()
		p.Link = "/sign-in/provider?" + url.Values{"to": {to}}.Encode()
	}
	return p
}

// signInAgain shows the page with what is wrong.
func (v *visit) signInAgain(status int, to, reason string) error {
	return v.pageStatus(status, "sign-in", "", "Sign in", v.signInPage(to, reason))
}

// askToSignIn sends a visitor who isn't known to sign in, and then back.
func (v *visit) askToSignIn(reason string) {
	if v.live() || v.wantsPart() && v.r.Method == http.MethodPost {
		// What stands in the page stays, and what was typed above all.
		data := errorPage{Problem: problem.Of(modelmanager.Errorf(modelmanager.CodeUnauthenticated, "%s", reason)), SignIn: signInPath("/")}
		if err := v.partStatus(data.Status, "error", "alert", data); err == nil {
			return
		}
	}
	if v.wantsPart() {
		to := "/"
		if current, err := url.Parse(v.r.Header.Get("HX-Current-URL")); err == nil {
			to = current.RequestURI()
		}
		v.w.Header().Set("HX-Redirect", signInPath(to))
		v.w.WriteHeader(http.StatusNoContent)
		return
	}
	if v.r.Method == http.MethodGet || v.r.Method == http.MethodHead {
		if v.session.Token == "" {
			http.Redirect(v.w, v.r, signInPath(v.r.URL.RequestURI()), http.StatusSeeOther)
			return
		}
		if err := v.signInAgain(http.StatusUnauthorized, v.r.URL.RequestURI(), reason); err == nil {
			return
		}
	}
	http.Redirect(v.w, v.r, signInPath("/"), http.StatusSeeOther)
}

func signInPath(to string) string {
	return "/sign-in?" + url.Values{"to": {localPath(to)}}.Encode()
}

func (v *visit) showSignIn() error {
	return v.page("sign-in", "", "Sign in", v.signInPage(localPath(v.query("to")), ""))
}

func (v *visit) signIn() error {
	token := strings.TrimSpace(v.r.PostFormValue("token"))
	to := localPath(v.r.PostFormValue("to"))
	if token == "" {
		return v.signInAgain(http.StatusUnprocessableEntity, to, "The token is missing.")
	}
	if strings.ContainsAny(token, " \t\r\n") {
		return v.signInAgain(http.StatusUnprocessableEntity, to, "A token is one word without spaces; something else came along when it was copied.")
	}
	return v.enter(token, time.Time{}, to)
}

// enter makes a token that the API knows the visitor's own, for as long as a
// session lasts; a token that is known to end before, until then.
func (v *visit) enter(token string, ends time.Time, to string) error {
	if _, err := v.api().Limits(withToken(v.ctx(), token)); err != nil {
		if modelmanager.CodeOf(err) == modelmanager.CodeUnauthenticated {
			return v.signInAgain(http.StatusUnauthorized, to, problem.Of(err).Detail)
		}
		return err
	}
	if most := time.Now().Add(sessionLasts); ends.IsZero() || ends.After(most) {
		ends = most
	}
	// A new id: who knew the one before gains nothing from it.
	next := session{ID: randomID(), Token: token, Ends: ends.Unix()}
	if err := v.keepSession(next); errors.Is(err, errTokenTooLong) {
		return v.signInAgain(http.StatusUnprocessableEntity, to, "The token is longer than a browser's cookies can hold.")
	} else if err != nil {
		return err
	}
	return v.redirect(to, "")
}

func (v *visit) signOut() error {
	for i := range maxCookies {
		if _, err := v.r.Cookie(v.web.cookiePart(i)); err == nil {
			v.setCookie(v.web.cookiePart(i), "", 0)
		}
	}
	return v.redirect("/sign-in", "You are signed out.")
}

func (v *visit) setTheme() error {
	theme := v.r.PostFormValue("theme")
	if theme != "light" && theme != "dark" {
		theme = ""
	}
	v.setCookie(themeCookie, theme, 365*24*60*60)
	http.Redirect(v.w, v.r, localPath(v.r.PostFormValue("to")), http.StatusSeeOther)
	return nil
}
