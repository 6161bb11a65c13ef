package peers

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/problem"
)

// PathLoad is where a server tells what it has under way.
const PathLoad = "/internal/load"

// Headers of a question and its answer. Both carry a code that only servers
// with the same key can make: nobody else learns what is under way, and nobody
// can pass for a server, as a pod might that got the address of one.
const (
	headerTime  = "Mm-Time"
	headerNonce = "Mm-Nonce"
	headerCode  = "Mm-Code"
)

// skew is how far the clocks of servers may be apart, and so for how long a
// question could be asked again by somebody who has seen it.
const skew = 5 * time.Minute

// Handler answers other servers that know the key with what own returns.
func Handler[T any](key []byte, own func() []T) http.Handler {
	return Answer(key, PathLoad, func(string) []T { return own() })
}

// Answer is the Handler of a question: own is told what it is about, which is
// what follows the path.
func Answer[T any](key []byte, path string, own func(about string) []T) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := admit(key, r); err != nil {
			problem.Write(w, err)
			return
		}
		about, ok := strings.CutPrefix(r.URL.Path, path)
		if !ok {
			problem.Write(w, modelmanager.Errorf(modelmanager.CodeNotFound, "there is no %.200s", r.URL.Path))
			return
		}
		parts := own(about)
		if parts == nil {
			parts = []T{}
		}
		body, err := json.Marshal(parts)
		if err != nil {
			problem.Write(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set(headerCode, code(key, "answer", r.Header.Get(headerNonce), string(body)))
		_, _ = w.Write(body) // who asked may have gone
	})
}

// admit refuses who doesn't know the key.
func admit(key []byte, r *http.Request) error {
	at, nonce := r.Header.Get(headerTime), r.Header.Get(headerNonce)
	want := code(key, "question", r.Method, r.URL.Path, at, nonce)
	seconds, err := strconv.ParseInt(at, 10, 64)
	if !hmac.Equal([]byte(r.Header.Get(headerCode)), []byte(want)) || err != nil || nonce == "" {
		return modelmanager.Errorf(modelmanager.CodeForbidden, "this is for servers of the same installation")
	}
	if off := time.Since(time.Unix(seconds, 0)); off > skew || off < -skew {
		return modelmanager.Errorf(modelmanager.CodeForbidden, "the clocks of these servers are %s apart, more than %s", off.Round(time.Second), skew)
	}
	return nil
}

// code authenticates parts, none of which can run into the next.
func code(key []byte, parts ...string) string {
	mac := hmac.New(sha256.New, key)
	for _, part := range parts {
		mac.Write([]byte(strconv.Itoa(len(part)) + ":"))
		mac.Write([]byte(part))
	}
	return strings.ToLower(hex.EncodeToString(mac.Sum(nil)))
}
