package shard

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/dataset"
)

func TestSpool(t *testing.T) {
	for _, dir := range []string{"", t.TempDir(), "/nowhere"} {
		s := &spool{dir: dir}
		var want bytes.Buffer
		fits := true
		for i := 0; fits && i < 40; i++ {
			chunk := bytes.Repeat([]byte{byte(i)}, 100_003)
			if fits = s.Write(chunk); fits {
				want.Write(chunk)
			}
		}
		for range 2 {
			if got, err := io.ReadAll(s.Reader()); err != nil || !bytes.Equal(got, want.Bytes()) || s.size != int64(len(got)) {
				t.Errorf("in %q: %d bytes in place of %d, %v", dir, len(got), want.Len(), err)
			}
		}
		if onDisk := strings.HasPrefix(dir, os.TempDir()); fits != onDisk {
			t.Errorf("in %q: 4 MB fit: %v", dir, fits)
		}
		if dir != "" && dir != "/nowhere" {
			if entries, _ := os.ReadDir(dir); len(entries) != 0 {
				t.Errorf("%v would be left by a killed agent", entries)
			}
		}
		s.Close()
	}
}

// Whatever goes wrong, no message has a URL that was signed.
func TestNoSignatureIsTold(t *testing.T) {
	broken := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer broken.Close()
	c := newClient(agent.Task{Server: broken.URL, Token: "secret-token", Job: "j", Step: "shards"})
	defer c.close()
	tell := func(err error) {
		t.Helper()
		if err == nil {
			t.Error("it succeeded")
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%v tells a secret", err)
		}
	}
	u, err := c.put(t.Context(), broken.URL+"/internal/objects/x?grant=secret")
	if err != nil {
		t.Fatal(err)
	}
	tell(u.Close())
	s := &session{client: c}
	s.urls.Input, s.urls.Direct = "/internal/objects/x?grant=secret", &Direct{URL: broken.URL + "/x?X-Amz-Signature=secret"}
	s.urls.Until = s.urls.Until.AddDate(9000, 0, 0)
	_, err = s.source(t.Context())
	tell(err)
	s.urls.Input = "/\x00?grant=secret"
	_, err = s.source(t.Context())
	tell(err)
	_, err = dataset.NewHTTPSource(t.Context(), http.DefaultClient, broken.URL+"/x?X-Amz-Signature=secret")
	tell(err)
	_, err = s.get(t.Context(), pickInput)
	tell(err)
	tell(c.once(t.Context(), "", nil, nil))
}
