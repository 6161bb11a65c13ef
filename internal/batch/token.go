package batch

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"

	"modelmanager.dev"
)

// token lets an agent act for one step of one job, and nothing else.
func (s *Service) token(job, step string) string {
	h := hmac.New(sha256.New, s.config.Key)
	h.Write([]byte("job\x00" + job + "\x00" + step))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// admit checks the token of a call against the job and step in its path.
func (s *Service) admit(r *http.Request, job, step string) error {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || given == "" {
		return modelmanager.Errorf(modelmanager.CodeUnauthenticated, "calls for a job need the job's token")
	}
	if !hmac.Equal([]byte(given), []byte(s.token(job, step))) {
		return modelmanager.Errorf(modelmanager.CodeForbidden, "this token is not that of the step %q of job %q", step, job)
	}
	return nil
}
