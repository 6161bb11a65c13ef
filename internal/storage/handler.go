package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"modelmanager.dev"
	"modelmanager.dev/internal/problem"
)

// Stored is the answer to a PUT.
type Stored struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // hexadecimal
	ETag   string `json:"etag"`
}

// Handler serves the URLs of a Signer: GET and HEAD with ranges, ETag and
// If-Match; PUT streams an object in, which appears only when it is complete.
func Handler(signer *Signer, own *Bucket, locations *Locations) http.Handler {
	return &handler{signer: signer, own: own, locations: locations}
}

type handler struct {
	signer    *Signer
	own       *Bucket
	locations *Locations
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h.serve(w, r); err != nil {
		problem.Write(w, err)
	}
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request) error {
	grant, err := h.signer.Verify(r.URL)
	if err != nil {
		return err
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if method != grant.Method {
		return modelmanager.Errorf(modelmanager.CodeForbidden, "this URL is for %s, not for %s", grant.Method, r.Method)
	}
	bucket, key := h.own, grant.Key
	if grant.URI != "" {
		if bucket, key, err = h.locations.Resolve(grant.URI); err != nil {
			return err
		}
	}
	if method == http.MethodPut {
		return h.put(w, r, grant, target{bucket, key})
	}
	return get(w, r, target{bucket, key})
}

type target struct {
	bucket *Bucket
	key    string
}

func get(w http.ResponseWriter, r *http.Request, t target) error {
	attributes, err := t.bucket.Stat(r.Context(), t.key)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", attributes.ETag)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	content := &seeker{ctx: r.Context(), target: t, attributes: attributes}
	defer content.Close()
	http.ServeContent(w, r, "", attributes.Modified, content)
	return nil
}

func (h *handler) put(w http.ResponseWriter, r *http.Request, grant Grant, t target) error {
	if grant.MaxSize > 0 && r.ContentLength > grant.MaxSize {
		return tooLarge(grant.MaxSize)
	}
	open := t.bucket.Write
	if grant.IfAbsent {
		open = t.bucket.CreateWrite
	}
	object, err := open(r.Context(), t.key)
	if err != nil {
		return err
	}
	defer object.Abort()
	stored, err := receive(object, r.Body, grant.MaxSize)
	if err != nil {
		return err
	}
	if err := object.Close(); err != nil {
		return err
	}
	// Asked after the object has appeared: whoever writes the other one and
	// then removes ours misses it only if we see theirs.
	if err := h.void(r.Context(), grant, t); err != nil {
		return err
	}
	attributes, err := t.bucket.Stat(r.Context(), t.key)
	if err != nil {
		return err
	}
	stored.ETag = attributes.ETag
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("ETag", attributes.ETag)
	w.WriteHeader(http.StatusCreated)
	return json.NewEncoder(w).Encode(stored)
}

// void removes what was stored if Grant.Unless says so, even for a caller that
// has gone.
func (h *handler) void(ctx context.Context, grant Grant, t target) error {
	if grant.Unless == "" {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	_, err := h.own.Stat(ctx, grant.Unless)
	if modelmanager.CodeOf(err) == modelmanager.CodeNotFound {
		return nil
	}
	if err == nil {
		err = modelmanager.Errorf(modelmanager.CodeConflict, "storing %s: it isn't wanted any more", t.key)
	}
	return errors.Join(err, t.bucket.Delete(ctx, t.key))
}

// receive copies a body, of at most limit bytes (0: any), and hashes it.
func receive(w io.Writer, body io.Reader, limit int64) (Stored, error) {
	if limit > 0 {
		body = io.LimitReader(body, limit+1)
	}
	hash := sha256.New()
	var failed error
	n, err := io.CopyBuffer(writerFunc(func(p []byte) (int, error) {
		hash.Write(p)
		n, err := w.Write(p)
		failed = err
		return n, err
	}), readerOnly{body}, make([]byte, 256<<10))
	switch {
	case failed != nil:
		return Stored{}, failed
	case err != nil:
		return Stored{}, modelmanager.Errorf(modelmanager.CodeBadRequest, "receiving a file: it broke off after %d bytes: %w", n, err)
	case limit > 0 && n > limit:
		return Stored{}, tooLarge(limit)
	}
	return Stored{Size: n, SHA256: hex.EncodeToString(hash.Sum(nil))}, nil
}

func tooLarge(limit int64) error {
	return modelmanager.Errorf(modelmanager.CodeTooLarge, "receiving a file: it is larger than the %d bytes allowed", limit)
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

type readerOnly struct{ io.Reader }

// seeker lets http.ServeContent read from wherever it likes.
type seeker struct {
	ctx        context.Context
	target     target
	attributes Attributes
	offset     int64
	body       io.ReadCloser
}

// Seek moves to an offset.
func (s *seeker) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.offset
	case io.SeekEnd:
		offset += s.attributes.Size
	}
	if offset < 0 {
		return 0, errors.New("seeking before the start")
	}
	if offset != s.offset {
		_ = s.Close()
	}
	s.offset = offset
	return offset, nil
}

// Read reads on from the offset.
func (s *seeker) Read(p []byte) (int, error) {
	if s.body == nil {
		body, err := s.target.bucket.ReadMatching(s.ctx, s.target.key, s.attributes.ETag, s.offset, -1)
		if err != nil {
			return 0, fmt.Errorf("reading an object for its URL: %w", err)
		}
		s.body = body
	}
	n, err := s.body.Read(p)
	s.offset += int64(n)
	return n, err
}

// Close drops what is open.
func (s *seeker) Close() error {
	if s.body == nil {
		return nil
	}
	body := s.body
	s.body = nil
	return body.Close()
}
