package storage

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"path"
	"strings"
	"time"

	"modelmanager.dev"
)

// PathObjects is where Handler is mounted.
const PathObjects = "/internal/objects/"

// Grant allows one method on one object for a while. Exactly one of Key (in
// the server's own bucket) and URI (under the allowed prefixes) is set.
type Grant struct {
	Method string    `json:"m"` // GET (HEAD too) or PUT
	Key    string    `json:"k,omitempty"`
	URI    string    `json:"u,omitempty"`
	Until  time.Time `json:"t"` // a transfer that has begun by then may end after

	// Of PUT:
	IfAbsent bool  `json:"a,omitempty"` // 409 if the object exists
	MaxSize  int64 `json:"s,omitempty"` // bytes; 0: any
	// Unless voids the PUT, 409, if there is an object of this key in the
	// server's own bucket by the time that the PUT is complete: what was to be
	// written isn't wanted any more.
	Unless string `json:"x,omitempty"`
}

// Signer makes and checks URLs of the server's own for single objects.
type Signer struct {
	key []byte
	now func() time.Time
}

// NewSigner takes the server's secret key: replicas that share it accept each
// other's URLs.
func NewSigner(key []byte) *Signer { return &Signer{key: key, now: time.Now} }

// Path returns the URL's path and query; put it behind any address of a server.
// What is secret is in the query, so that it is easily left out of messages.
func (s *Signer) Path(grant Grant) string {
	data, err := json.Marshal(grant)
	if err != nil {
		panic(err) // a Grant has nothing that JSON lacks
	}
	payload := base64.RawURLEncoding.EncodeToString(data)
	return PathObjects + url.PathEscape(path.Base(grant.Key+grant.URI)) +
		"?grant=" + payload + "." + base64.RawURLEncoding.EncodeToString(s.mac(payload))
}

// Verify reads a URL that Path made; CodeForbidden if it is not ours, or too old.
func (s *Signer) Verify(u *url.URL) (Grant, error) {
	payload, mac, ok := strings.Cut(u.Query().Get("grant"), ".")
	given, err := base64.RawURLEncoding.DecodeString(mac)
	if !ok || err != nil || !hmac.Equal(given, s.mac(payload)) {
		return Grant{}, modelmanager.Errorf(modelmanager.CodeForbidden, "this URL was not signed by this server")
	}
	var grant Grant
	data, err := base64.RawURLEncoding.DecodeString(payload)
	if err == nil {
		err = json.Unmarshal(data, &grant)
	}
	if err != nil {
		return Grant{}, modelmanager.Errorf(modelmanager.CodeForbidden, "this URL can't be read: %w", err)
	}
	if s.now().After(grant.Until) {
		return Grant{}, modelmanager.Errorf(modelmanager.CodeForbidden, "this URL was good until %s, ask for a new one",
			grant.Until.Format(time.RFC3339))
	}
	return grant, nil
}

func (s *Signer) mac(payload string) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte("object\x00" + payload)) // one key signs other things, too
	return h.Sum(nil)
}
