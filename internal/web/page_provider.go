package web

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/auth"
	"modelmanager.dev/internal/problem"
	"modelmanager.dev/internal/wording"
)

// Provider is where people sign in with an account that they have already.
type Provider interface {
	// Name is what people know it by.
	Name() string
	// SignIn returns where a browser goes to sign in.
	SignIn(ctx context.Context, attempt auth.SignIn) (string, error)
	// Redeem gets the API's token for the code that a browser came back with,
	// and says when it ends.
	Redeem(ctx context.Context, attempt auth.SignIn, code string) (token string, ends time.Time, err error)
}

// callbackPath is where the provider sends browsers back to, below PublicURL.
const callbackPath = "/sign-in/callback"

// attemptLasts is how long somebody has for signing in at the provider.
const attemptLasts = 10 * time.Minute

// attempt is what the cookie of an attempt to sign in holds, sealed.
type attempt struct {
	auth.SignIn
	To   string `json:"to"`
	Ends int64  `json:"ends"` // seconds since 1970
}

// attemptPart is how much of an attempt's state its cookie's name has, so that
// two tabs don't take each other's.
const attemptPart = 8

// leaveForProvider sends the visitor to the provider. It is a link and no form:
// our pages' forms lead to ourselves alone.
func (v *visit) leaveForProvider() error {
	a := attempt{
		SignIn: auth.NewSignIn(strings.TrimSuffix(v.web.PublicURL, "/") + callbackPath),
		To:     afterSignIn(v.query("to")), Ends: time.Now().Add(attemptLasts).Unix(),
	}
	address, err := v.web.Provider.SignIn(v.ctx(), a.SignIn)
	if err != nil {
		return v.providerFailed(a.To, err)
	}
	text, err := v.web.sealed(attemptCookie, a)
	if err == nil && len(text) > cookieBytes { // better signed in at the start than not at all
		a.To = "/"
		text, err = v.web.sealed(attemptCookie, a)
	}
	if err != nil {
		return err
	}
	v.setAttempt(a.State, text)
	v.w.Header().Set("Cache-Control", "no-store")
	http.Redirect(v.w, v.r, address, http.StatusSeeOther)
	return nil
}

// afterSignIn returns where a visitor goes once signed in.
func afterSignIn(text string) string {
	to := localPath(text)
	if strings.HasPrefix(to, "/sign-in") {
		return "/"
	}
	return to
}

// setAttempt keeps an attempt's cookie, which only its end is sent; an empty
// text deletes it.
func (v *visit) setAttempt(state, text string) {
	cookie := &http.Cookie{
		Name: attemptCookie + state[:attemptPart], Value: text, Path: callbackPath, MaxAge: int(attemptLasts.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: v.https(),
	}
	if text == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(v.w, cookie)
}

// takeAttempt finds the attempt that a state is of, once.
func (v *visit) takeAttempt(state string) (attempt, bool) {
	var a attempt
	if len(state) < attemptPart {
		return a, false
	}
	cookie, err := v.r.Cookie(attemptCookie + state[:attemptPart])
	if err != nil || !v.web.unseal(attemptCookie, cookie.Value, &a) || a.State != state {
		return attempt{}, false
	}
	v.setAttempt(a.State, "")
	return a, time.Now().Unix() <= a.Ends
}

// backFromProvider signs in who comes from the provider with a code.
func (v *visit) backFromProvider() error {
	answer := v.r.URL.Query()
	a, known := v.takeAttempt(answer.Get("state"))
	a.To = afterSignIn(a.To)
	// What is shown is the sign-in page; its address has no code in it.
	shown := *v.r
	shown.URL = &url.URL{Path: "/sign-in", RawQuery: url.Values{"to": {a.To}}.Encode()}
	v.r = &shown
	v.w.Header().Set("Cache-Control", "no-store")
	switch code := answer.Get("code"); {
	case !known:
		return v.signInAgain(http.StatusBadRequest, a.To, "This sign-in wasn’t begun in this browser, or more than ten minutes ago. Begin again.")
	case answer.Has("error"):
		return v.signInAgain(http.StatusUnauthorized, a.To, v.refusal(answer.Get("error"), answer.Get("error_description")))
	case code == "":
		return v.signInAgain(http.StatusBadRequest, a.To, v.web.Provider.Name()+" sent you back without a word. Begin again.")
	default:
		token, ends, err := v.web.Provider.Redeem(v.ctx(), a.SignIn, code)
		if err != nil {
			return v.providerFailed(a.To, err)
		}
		return v.enter(token, ends, a.To)
	}
}

// refusal is a sentence for the provider's error.
func (v *visit) refusal(code, description string) string {
	text := v.web.Provider.Name() + " didn’t let you in: " + wording.Shorten(code, 60)
	if code == "access_denied" {
		text = v.web.Provider.Name() + " didn’t let you in: the sign-in was cancelled, or your account may not use this server"
	}
	if description != "" {
		return text + " (" + wording.Shorten(strings.TrimSuffix(description, "."), 300) + ")."
	}
	return text + "."
}

// providerFailed shows why nobody can sign in at the provider, or this one
// couldn't. Addresses and what the network said are for the log.
func (v *visit) providerFailed(to string, err error) error {
	name := v.web.Provider.Name()
	switch code := modelmanager.CodeOf(err); code {
	case modelmanager.CodeUnauthenticated:
		return v.signInAgain(http.StatusUnauthorized, to, problem.Of(err).Detail)
	case modelmanager.CodeUnavailable:
		v.web.Logger.WarnContext(v.ctx(), "the provider can't be asked", "error", err)
		return v.signInAgain(http.StatusServiceUnavailable, to, name+" doesn’t answer now. Try again in a moment, or sign in with a token.")
	default:
		v.web.Logger.ErrorContext(v.ctx(), "signing in at the provider failed", "error", err)
		return v.signInAgain(http.StatusBadGateway, to, "This server and "+name+" don’t understand each other, which is nothing you did. Tell whoever runs the server; its log says why.")
	}
}
