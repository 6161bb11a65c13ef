package storage

import (
	"context"
	"net/http"
	"time"
)

// SignRequest asks for a URL of the store's own for one object.
type SignRequest struct {
	Method string // GET or PUT
	Key    string
	For    time.Duration // a transfer that has begun by then may end after
	ETag   string        // of GET: what the object must be

	// Of PUT: what will be sent, exactly.
	Size   int64
	SHA256 []byte
	MD5    []byte
}

// SignedURL is a URL of the store's own. A request must send the Headers with
// it. The whole URL is secret, as whoever has it can use it.
type SignedURL struct {
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers,omitempty"`
	// Pinned tells that a GET reads the object of the ETag or nothing (404),
	// and that the ETag in its answers is another one.
	Pinned bool `json:"pinned,omitempty"`
}

// maxDirect is the largest object that every store takes with one request.
const maxDirect = 4 << 30

type signRequest struct {
	SignRequest
	key string // with the bucket's prefix
}

// SignedURL makes a URL with which a holder without credentials can read or
// write one object, at the store itself. ok is false if the medium, or its
// credentials, can't sign; use a Signer then.
//
// A GET fails, with 412 or 404, if the object isn't that of the ETag. A PUT
// takes what was announced, and nothing else, as far as the store can check.
func (b *Bucket) SignedURL(ctx context.Context, r SignRequest) (signed SignedURL, ok bool, err error) {
	if err := checkKey(r.Key); err != nil {
		return SignedURL{}, false, err
	}
	c, isCloud := b.backend.(*cloud)
	if !isCloud || r.Method == http.MethodPut && r.Size > maxDirect {
		return SignedURL{}, false, nil
	}
	signed, ok, err = c.vendor.sign(ctx, c.bucket, signRequest{r, c.prefix + r.Key})
	if err != nil {
		return SignedURL{}, false, c.fail("signing a URL for", r.Key, err)
	}
	return signed, ok, nil
}
