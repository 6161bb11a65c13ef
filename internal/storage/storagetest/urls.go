package storagetest

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/storage"
)

// server is a server's own endpoint for objects.
type server struct {
	*httptest.Server
	signer *storage.Signer
}

func newServer(t *testing.T, b *storage.Bucket) *server {
	l, err := storage.NewLocations(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{signer: storage.NewSigner([]byte("key"))}
	s.Server = httptest.NewServer(storage.Handler(s.signer, b, l))
	t.Cleanup(s.Close)
	return s
}

func (s *server) do(t *testing.T, grant storage.Grant, body io.Reader, header ...string) (int, http.Header, string) {
	t.Helper()
	grant.Until = time.Now().Add(time.Minute)
	return do(t, grant.Method, s.URL+s.signer.Path(grant), body, header...)
}

func do(t *testing.T, method, address string, body io.Reader, header ...string) (int, http.Header, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, err.Error()
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return response.StatusCode, response.Header, err.Error()
	}
	return response.StatusCode, response.Header, string(data)
}

func serverURLs(t *testing.T, b *storage.Bucket) {
	s := newServer(t, b)
	put, get := storage.Grant{Method: "PUT", Key: "parts/1"}, storage.Grant{Method: "GET", Key: "parts/1"}
	if status, _, _ := s.do(t, get, nil); status != 404 {
		t.Error(status)
	}
	status, header, body := s.do(t, put, strings.NewReader("hello world"))
	if status != 201 || !strings.Contains(body, "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9") {
		t.Error(status, body)
	}
	etag := header.Get("ETag")
	for _, test := range []struct {
		header []string
		status int
		body   string
	}{
		{nil, 200, "hello world"},
		{[]string{"Range", "bytes=6-8"}, 206, "wor"},
		{[]string{"Range", "bytes=6-"}, 206, "world"},
		{[]string{"Range", "bytes=-2"}, 206, "ld"},
		{[]string{"Range", "bytes=0-0", "If-Match", etag}, 206, "h"},
		{[]string{"If-Match", `"other"`}, 412, ""},
	} {
		status, got, body := s.do(t, get, nil, test.header...)
		if status != test.status || status < 400 && (body != test.body || got.Get("ETag") != etag) {
			t.Errorf("GET %v: %d %q %v", test.header, status, body, got)
		}
	}
	put.IfAbsent = true
	if status, _, _ := s.do(t, put, strings.NewReader("other")); status != 409 {
		t.Error(status)
	}
	put.IfAbsent, put.MaxSize = false, 3
	for _, body := range []io.Reader{strings.NewReader("four"), io.MultiReader(strings.NewReader("four"))} {
		if status, _, _ := s.do(t, put, body); status != 413 {
			t.Error(status)
		}
	}
	if got := content(t, b, "parts/1"); got != "hello world" {
		t.Errorf("content %q", got)
	}
	void := storage.Grant{Method: "PUT", Key: "parts/2", Unless: "parts/1"}
	if status, _, _ := s.do(t, void, strings.NewReader("late")); status != 409 {
		t.Error(status)
	}
	_, err := b.Stat(t.Context(), "parts/2")
	wantCode(t, err, modelmanager.CodeNotFound)
}

// storeURLs are those that the store signs itself, if it can.
func storeURLs(t *testing.T, b *storage.Bucket) {
	text := strings.Repeat("hello world\n", 1000)
	put := func(text string) (storage.SignedURL, bool) {
		sum, hash := sha256.Sum256([]byte(text)), md5.Sum([]byte(text))
		signed, ok, err := b.SignedURL(t.Context(), storage.SignRequest{Method: "PUT", Key: "parts/é 1+2", For: time.Minute,
			Size: int64(len(text)), SHA256: sum[:], MD5: hash[:]})
		if err != nil {
			t.Fatal(err)
		}
		return signed, ok
	}
	signed, ok := put(text)
	if !ok {
		if strings.HasPrefix(b.URL(), "s3:") || strings.HasPrefix(b.URL(), "azblob:") {
			t.Error("the store signs nothing")
		}
		return
	}
	send := func(text string) int {
		var header []string
		for name, value := range signed.Headers {
			header = append(header, name, value)
		}
		status, _, _ := do(t, "PUT", signed.URL, strings.NewReader(text), header...)
		return status
	}
	if status := send(strings.ToUpper(text)); status < 400 {
		t.Errorf("other bytes were taken: %d", status)
	}
	if status := send(text + "more"); status < 400 {
		t.Errorf("more bytes were taken: %d", status)
	}
	wantEmpty(t, b)
	if status := send(text); status >= 300 {
		t.Errorf("the store answers %d", status)
	}
	if content(t, b, "parts/é 1+2") != text {
		t.Error("another content arrived")
	}
	storeGet(t, b, "parts/é 1+2", text)
}

func storeGet(t *testing.T, b *storage.Bucket, key, text string) {
	a, err := b.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	signed, ok, err := b.SignedURL(t.Context(), storage.SignRequest{Method: "GET", Key: key, For: time.Minute, ETag: a.ETag})
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	status, header, body := do(t, "GET", signed.URL, nil, "Range", "bytes=6-10")
	if status != 206 || body != "world" || !signed.Pinned && header.Get("ETag") != a.ETag {
		t.Errorf("GET: %d %q, ETag %s and not %s", status, body, header.Get("ETag"), a.ETag)
	}
	if status, _, body = do(t, "GET", signed.URL, nil, "If-Match", header.Get("ETag")); status != 200 || body != text {
		t.Errorf("GET: %d, %d bytes", status, len(body))
	}
	if status, _, _ := do(t, "PUT", signed.URL, strings.NewReader("x")); status < 400 {
		t.Errorf("a URL to read writes: %d", status)
	}
	write(t, b, key, "changed")
	if status, _, _ = do(t, "GET", signed.URL, nil, "If-Match", header.Get("ETag")); status != 412 && status != 404 {
		t.Errorf("GET of what changed: %d", status)
	}
	if status, _, _ := do(t, "GET", strings.Replace(signed.URL, "parts", "other", 1), nil); status != 403 && status != 404 {
		t.Errorf("GET of another object: %d", status)
	}
}

func brokenBody(t *testing.T, b *storage.Bucket) {
	s := newServer(t, b)
	for _, size := range []int{1 << 20, large} {
		broken := io.MultiReader(bytes.NewReader(make([]byte, size)), failing{})
		if status, _, _ := s.do(t, storage.Grant{Method: "PUT", Key: "parts/1"}, broken); status == 201 {
			t.Error("a broken body was stored")
		}
	}
	s.Close()
	wantEmpty(t, b)
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("broken") }

func uploads(t *testing.T, b *storage.Bucket) {
	ctx := t.Context()
	u := storage.NewUploads(b)
	put := func(text string) modelmanager.Upload {
		upload, err := u.Put(ctx, strings.NewReader(text), 100)
		if err != nil {
			t.Fatal(err)
		}
		return upload
	}
	kept, free := put("hello world"), put("free")
	if kept.Size != 11 || kept.SHA256 != "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9" {
		t.Error(kept)
	}
	_, err := u.Put(ctx, bytes.NewReader(make([]byte, 101)), 100)
	wantCode(t, err, modelmanager.CodeTooLarge)
	_, err = u.Put(ctx, io.MultiReader(strings.NewReader("x"), failing{}), 100)
	wantCode(t, err, modelmanager.CodeBadRequest)
	for _, id := range []string{"", "../x", strings.Repeat("A", 26), kept.ID + "/held"} {
		_, err := u.Get(ctx, id)
		wantCode(t, err, modelmanager.CodeNotFound)
	}
	if _, err := u.Hold(ctx, kept.ID, "job"); err != nil {
		t.Fatal(err)
	}
	sweep := func(before time.Time, want int) {
		t.Helper()
		if n, err := u.Sweep(ctx, before); err != nil || n != want {
			t.Errorf("%d swept, want %d: %v", n, want, err)
		}
	}
	sweep(time.Now().Add(-time.Hour), 0)
	sweep(time.Now().Add(time.Hour), 1)
	_, err = u.Get(ctx, free.ID)
	wantCode(t, err, modelmanager.CodeNotFound)
	_, err = u.Hold(ctx, free.ID, "job")
	wantCode(t, err, modelmanager.CodeNotFound)
	r, err := u.Open(ctx, kept.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, _ := io.ReadAll(r); string(got) != "hello world" {
		t.Errorf("content %q", got)
	}
	if err := u.Release(ctx, kept.ID, "job"); err != nil {
		t.Fatal(err)
	}
	sweep(time.Now().Add(time.Hour), 1)
	wantEmpty(t, b)
}

// sharedUploads are seen by every server once they are complete.
func sharedUploads(t *testing.T, b *storage.Bucket) {
	one, other := storage.NewUploads(b), storage.NewUploads(b)
	data := bytes.Repeat([]byte("0123456789abcdef"), large/16)
	upload, err := one.Put(t.Context(), bytes.NewReader(data), 0)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	if got, err := other.Get(t.Context(), upload.ID); err != nil || got.SHA256 != hex.EncodeToString(sum[:]) || got.Size != large {
		t.Errorf("%+v, %v", got, err)
	}
	r, err := other.Open(t.Context(), upload.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
