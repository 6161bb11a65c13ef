package storage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
)

func TestLocations(t *testing.T) {
	dir := t.TempDir()
	in := "file://" + filepath.Join(dir, "in")
	l, err := NewLocations(t.Context(), []string{in + "/", "file://" + dir + "/out", "mem://box/part"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "in", "a b.csv"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for uri, want := range map[string]string{
		in + "/x.csv": "x.csv", in + "/a/b.csv": "a/b.csv", in + "/a%20b.csv": "a b.csv", in + "/a b.csv": "a b.csv",
		"file://" + dir + "/out/run 1/": "run 1", "mem://box/part/x": "x",
	} {
		_, key, err := l.Resolve(uri)
		if err != nil || key != want {
			t.Errorf("%s: %q, %v", uri, key, err)
		}
	}
	for _, uri := range []string{
		"", "/etc/passwd", "x.csv", in, in + "/", in + "put/x", "file:///etc/passwd", in + "/../secret", in + "/a/../../secret",
		in + "/%2e%2e/secret", in + "/%2E%2E%2Fsecret", in + "/..%2fsecret", in + "/%252e%252e/../x", in + "//x", in + "/a//b", in + "/./x",
		in + `/..\x`, in + "/a%5cb", in + "/a%00b", in + "/a\x00b", "FILE://" + in[7:] + "/x", strings.ToUpper(in) + "/x",
		strings.Replace(in, "file://", "file://user@", 1) + "/x", strings.Replace(in, "file://", "file://localhost", 1) + "/x",
		strings.Replace(in, "file://", "file:", 1) + "/x", strings.Replace(in, "file://", "file://evil@/", 1) + "/x",
		in + "/x?y=z", in + "/x?", in + "/x#y", in + "/x#", "mem://other/part/x", "mem://box:80/part/x", "mem://BOX/part/x", "mem://box/partx/x",
		"http://169.254.169.254/latest", "s3://bucket/x", in + "/" + scratch + "/x",
	} {
		_, _, err := l.Resolve(uri)
		if modelmanager.CodeOf(err) != modelmanager.CodeForbidden {
			t.Errorf("%q: code %q (%v)", uri, modelmanager.CodeOf(err), err)
		}
	}
	_, _, err = l.Resolve("file:///etc/passwd")
	if !strings.Contains(err.Error(), in) {
		t.Errorf("%v doesn't say what is allowed", err)
	}
}

type server struct {
	*httptest.Server
	signer *Signer
	bucket *Bucket
}

func newServer(t *testing.T, b *Bucket) *server {
	l, err := NewLocations(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{signer: NewSigner([]byte("key")), bucket: b}
	s.Server = httptest.NewServer(Handler(s.signer, b, l))
	t.Cleanup(s.Close)
	return s
}

func (s *server) do(t *testing.T, grant Grant, method string, body io.Reader, header ...string) (int, http.Header, string) {
	t.Helper()
	if grant.Until.IsZero() {
		grant.Until = time.Now().Add(time.Minute)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, s.URL+s.signer.Path(grant), body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := s.Client().Do(request)
	if err != nil {
		return 0, nil, err.Error()
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(data)
}

func TestSignedURLs(t *testing.T) {
	eachBucket(t, func(t *testing.T, b *Bucket) {
		s := newServer(t, b)
		put, get := Grant{Method: "PUT", Key: "parts/1"}, Grant{Method: "GET", Key: "parts/1"}
		if status, _, _ := s.do(t, get, "GET", nil); status != 404 {
			t.Error(status)
		}
		status, header, body := s.do(t, put, "PUT", strings.NewReader("hello world"))
		if status != 201 || !strings.Contains(body, "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9") {
			t.Error(status, body)
		}
		etag := header.Get("ETag")
		for _, test := range []struct {
			method string
			header []string
			status int
			body   string
		}{
			{"GET", nil, 200, "hello world"},
			{"HEAD", nil, 200, ""},
			{"GET", []string{"Range", "bytes=6-8"}, 206, "wor"},
			{"GET", []string{"Range", "bytes=6-"}, 206, "world"},
			{"GET", []string{"Range", "bytes=-2"}, 206, "ld"},
			{"GET", []string{"Range", "bytes=0-0", "If-Match", etag}, 206, "h"},
			{"GET", []string{"If-Match", `"other"`}, 412, ""},
		} {
			status, got, body := s.do(t, get, test.method, nil, test.header...)
			if status != test.status || status < 400 && (body != test.body || got.Get("ETag") != etag) {
				t.Errorf("%s %v: %d %q %v", test.method, test.header, status, body, got)
			}
		}
		put.IfAbsent = true
		if status, _, _ := s.do(t, put, "PUT", strings.NewReader("other")); status != 409 {
			t.Error(status)
		}
		put.IfAbsent, put.MaxSize = false, 3
		for _, body := range []io.Reader{strings.NewReader("four"), io.MultiReader(strings.NewReader("four"))} {
			if status, _, _ := s.do(t, put, "PUT", body); status != 413 {
				t.Error(status)
			}
		}
		if got := content(t, b, "parts/1"); got != "hello world" {
			t.Errorf("content %q", got)
		}
		void := Grant{Method: "PUT", Key: "parts/2", Unless: "parts/1"}
		if status, _, _ := s.do(t, void, "PUT", strings.NewReader("late")); status != 409 {
			t.Error(status)
		}
		_, err := b.Stat(t.Context(), "parts/2")
		wantCode(t, err, modelmanager.CodeNotFound)
	})
}

func TestBrokenUploadLeavesNothing(t *testing.T) {
	eachBucket(t, func(t *testing.T, b *Bucket) {
		s := newServer(t, b)
		broken := io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)), failing{})
		if status, _, _ := s.do(t, Grant{Method: "PUT", Key: "parts/1"}, "PUT", broken); status == 201 {
			t.Error("a broken body was stored")
		}
		s.Close()
		if objects, err := b.List(t.Context(), "", "", 0); err != nil || len(objects) != 0 {
			t.Error(objects, err)
		}
		if f, ok := b.backend.(*files); ok {
			if entries, _ := os.ReadDir(f.dir); len(entries) != 0 {
				t.Error(entries)
			}
		}
	})
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("broken") }

func TestHostileURLs(t *testing.T) {
	b, err := Open(t.Context(), "mem://")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, b)
	if err := b.WriteAll(t.Context(), "secret", []byte("secret")); err != nil {
		t.Fatal(err)
	}
	grant := Grant{Method: "GET", Key: "secret", Until: time.Now().Add(time.Minute)}
	good := s.signer.Path(grant)
	payload, mac, _ := strings.Cut(good, ".")
	grant.Key = "other"
	other, _, _ := strings.Cut(s.signer.Path(grant), ".")
	for _, path := range []string{PathObjects, payload, payload + ".", other + "." + mac, good + "x", good[:len(good)-2],
		NewSigner([]byte("another key")).Path(grant), PathObjects + "../secret"} {
		u, err := url.Parse(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.signer.Verify(u); modelmanager.CodeOf(err) != modelmanager.CodeForbidden {
			t.Errorf("%s: %v", path, err)
		}
	}
	if status, _, _ := s.do(t, Grant{Method: "GET", Key: "secret", Until: time.Now().Add(-time.Second)}, "GET", nil); status != 403 {
		t.Error("an old URL is still good", status)
	}
	if status, _, _ := s.do(t, Grant{Method: "GET", Key: "secret"}, "PUT", strings.NewReader("x")); status != 403 {
		t.Error("a URL to read can write", status)
	}
	if status, _, _ := s.do(t, Grant{Method: "PUT", Key: "secret"}, "GET", nil); status != 403 {
		t.Error("a URL to write can read", status)
	}
	if status, _, _ := s.do(t, Grant{Method: "GET", URI: "file:///etc/passwd"}, "GET", nil); status != 403 {
		t.Error("a URL leads out of the allowed prefixes", status)
	}
}

func TestUploads(t *testing.T) {
	eachBucket(t, func(t *testing.T, b *Bucket) {
		ctx := t.Context()
		u := NewUploads(b)
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
			if n, err := u.Sweep(context.WithoutCancel(ctx), before); err != nil || n != want {
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
		if objects, _ := b.List(ctx, "", "", 0); len(objects) != 0 {
			t.Error(objects)
		}
	})
}
