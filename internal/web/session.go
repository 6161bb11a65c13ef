package web

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// session is what a visitor's cookie holds, sealed.
type session struct {
	ID    string `json:"id"`              // random; the tokens in forms are made of it
	Token string `json:"token,omitempty"` // the API's; "" where nobody has to sign in
	Ends  int64  `json:"ends,omitempty"`  // seconds since 1970; 0: when the browser closes
}

// sessionLasts is how long somebody stays signed in at most.
const sessionLasts = 12 * time.Hour

// Cookies. The session's name has a hash of the key in it: two servers on one
// machine, which browsers don't tell apart, leave each other's alone.
const (
	sessionCookie = "mm_session_"
	themeCookie   = "mm_theme"
	noteCookie    = "mm_note"
	attemptCookie = "mm_sign_in_"
)

// A browser keeps 4 KB a cookie. A token of somebody in many groups is longer,
// and takes several.
const (
	cookieBytes = 3800
	maxCookies  = 5
)

// newKeys derives what the pages need from the server's key.
func (w *Web) newKeys(key []byte) error {
	if len(key) < 32 {
		return errors.New("the key of the pages' cookies has less than 32 bytes")
	}
	derive := func(purpose string) []byte {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(purpose))
		return mac.Sum(nil)
	}
	block, err := aes.NewCipher(derive("cookies"))
	if err != nil {
		return err
	}
	w.tokenKey = derive("forms")
	w.cookie = sessionCookie + hex.EncodeToString(derive("name")[:4])
	w.seal, err = cipher.NewGCM(block)
	return err
}

// sealed makes a value that only this server, and its replicas, can read or
// make; name is what it is for.
func (w *Web) sealed(name string, value any) (string, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	return w.sealedBytes(name, data)
}

func (w *Web) sealedBytes(name string, data []byte) (string, error) {
	nonce := make([]byte, w.seal.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(w.seal.Seal(nonce, nonce, data, []byte(name))), nil
}

// unseal reads what sealed made, and tells whether it did.
func (w *Web) unseal(name, text string, value any) bool {
	plain, ok := w.unsealBytes(name, text)
	return ok && json.Unmarshal(plain, value) == nil
}

func (w *Web) unsealBytes(name, text string) ([]byte, bool) {
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(data) < w.seal.NonceSize() {
		return nil, false
	}
	nonce, rest := data[:w.seal.NonceSize()], data[w.seal.NonceSize():]
	plain, err := w.seal.Open(nil, nonce, rest, []byte(name))
	return plain, err == nil
}

// readSession reads a request's session; one that can't be read, or has ended,
// is none.
func (w *Web) readSession(r *http.Request) session {
	var text strings.Builder
	for i := range maxCookies {
		cookie, err := r.Cookie(w.cookiePart(i))
		if err != nil {
			break
		}
		text.WriteString(cookie.Value)
	}
	var s session
	if !w.unseal(w.cookie, text.String(), &s) || s.Ends != 0 && time.Now().Unix() > s.Ends {
		return session{}
	}
	return s
}

func (w *Web) cookiePart(i int) string {
	if i == 0 {
		return w.cookie
	}
	return w.cookie + "_" + strconv.Itoa(i)
}

// errTokenTooLong says that a session doesn't fit into a browser's cookies.
var errTokenTooLong = errors.New("the token is too long to be kept in cookies")

// keepSession gives the visitor a session.
func (v *visit) keepSession(s session) error {
	text, err := v.web.sealed(v.web.cookie, s)
	if err != nil {
		return err
	}
	if len(text) > cookieBytes*maxCookies {
		return errTokenTooLong
	}
	for i := range maxCookies {
		part := text[:min(len(text), cookieBytes)]
		text = text[len(part):]
		if _, err := v.r.Cookie(v.web.cookiePart(i)); part == "" && err != nil {
			break
		}
		v.setCookie(v.web.cookiePart(i), part, 0)
	}
	v.session = s
	return nil
}

// setCookie sets a cookie for so many seconds; 0: until the browser closes. An
// empty value deletes it.
func (v *visit) setCookie(name, value string, seconds int) {
	cookie := &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: seconds,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: v.https(),
	}
	if value == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(v.w, cookie)
}

// https tells whether the visitor's browser speaks HTTPS, to us or to what is
// in front of us. Who claims it wrongly gets a cookie that is only more careful.
func (v *visit) https() bool {
	return v.r.TLS != nil || strings.EqualFold(v.r.Header.Get("X-Forwarded-Proto"), "https") ||
		strings.EqualFold(v.web.PublicURL, "https://"+v.r.Host)
}

func randomID() string { return rand.Text() }
