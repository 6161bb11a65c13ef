package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"mime/multipart"

	"modelmanager.dev"
)

// tokenField is the form's field that proves that one of our pages made it.
const tokenField = "csrf"

// token makes the token of a visitor's forms: it depends on the session. It is
// masked anew each time, so that a compressed page gives nothing of it away.
func (v *visit) token() string {
	if v.session.ID == "" {
		if err := v.keepSession(session{ID: randomID()}); err != nil {
			return ""
		}
	}
	secret := v.secret()
	masked := make([]byte, 2*len(secret))
	if _, err := rand.Read(masked[:len(secret)]); err != nil {
		return ""
	}
	for i := range secret {
		masked[len(secret)+i] = secret[i] ^ masked[i]
	}
	return base64.RawURLEncoding.EncodeToString(masked)
}

func (v *visit) secret() []byte {
	mac := hmac.New(sha256.New, v.web.tokenKey)
	mac.Write([]byte(v.session.ID))
	return mac.Sum(nil)
}

// errOldForm refuses a form that has no token of the session; errRenewed, one
// that a script sent, which puts the token of the answer into it.
var (
	errOldForm = modelmanager.Errorf(modelmanager.CodeForbidden,
		"this form is from another session; go back, reload the page, and send it again. Cookies have to be allowed for this site")
	errRenewed = modelmanager.Errorf(modelmanager.CodeForbidden,
		"the form was of an earlier session. Now it can be sent: do it once more. Cookies have to be allowed for this site")
)

// checkToken refuses a form that wasn't made by a page of this visitor's.
func (v *visit) checkToken(token string) error {
	masked, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil && v.session.ID != "" && len(masked) == 2*sha256.Size {
		mask, rest := masked[:sha256.Size], masked[sha256.Size:]
		for i := range rest {
			rest[i] ^= mask[i]
		}
		if hmac.Equal(rest, v.secret()) {
			return nil
		}
	}
	if v.wantsPart() {
		return errRenewed
	}
	return errOldForm
}

// parts reads a form with files. Its first part is the token, which has been
// checked when parts returns.
func (v *visit) parts() (*multipart.Reader, error) {
	reader, err := v.r.MultipartReader()
	if err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "reading the form: %w", err)
	}
	part, err := reader.NextPart()
	if err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "reading the form: %w", err)
	}
	token := ""
	if part.FormName() == tokenField {
		data, err := io.ReadAll(io.LimitReader(part, 1000))
		if err != nil {
			return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "reading the form: %w", err)
		}
		token = string(data)
	}
	return reader, v.checkToken(token)
}
