package storage

import (
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

func TestBrokenUploadLeavesNoFile(t *testing.T) {
	dir := t.TempDir()
	b, err := Open(t.Context(), "file://"+dir)
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, b)
	broken := io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)), failing{})
	if status, _, _ := s.do(t, Grant{Method: "PUT", Key: "parts/1"}, "PUT", broken); status == 201 {
		t.Error("a broken body was stored")
	}
	s.Close()
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Error(entries)
	}
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
