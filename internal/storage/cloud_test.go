package storage_test

import (
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"modelmanager.dev"
	"modelmanager.dev/internal/storage"
	"modelmanager.dev/test/stores"
)

// client is S3 without package storage between.
func client(t *testing.T, server *stores.Server) *s3.Client {
	c, err := config.LoadDefaultConfig(t.Context(), config.WithRegion("us-east-1"))
	if err != nil {
		t.Fatal(err)
	}
	return s3.NewFromConfig(c, func(o *s3.Options) {
		o.BaseEndpoint, o.UsePathStyle = aws.String("http://"+server.Address()), true
	})
}

func unfinished(t *testing.T, c *s3.Client) []string {
	t.Helper()
	list, err := c.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String(stores.Bucket)})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, one := range list.Uploads {
		keys = append(keys, *one.Key)
	}
	return keys
}

func TestS3Unfinished(t *testing.T) {
	server := stores.S3(t)
	raw := client(t, server)
	b := opened(t, server.S3URL("mine"))
	ctx, cancel := context.WithCancel(t.Context())
	w, err := b.Write(ctx, "large")
	if err != nil {
		t.Fatal(err)
	}
	for range 40 {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if got := unfinished(t, raw); len(got) != 1 {
		t.Errorf("%v are under way", got)
	}
	cancel() // as when the caller goes away
	w.Abort()
	if got := unfinished(t, raw); len(got) != 0 {
		t.Errorf("an aborted write leaves %v", got)
	}
	// What killed servers left goes after a day, others' stays.
	for _, key := range []string{"mine/uploads/X/data", "mine/jobs/Y/parts/1", "theirs/x"} {
		if _, err := raw.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String(stores.Bucket), Key: &key}); err != nil {
			t.Fatal(err)
		}
	}
	uploads := storage.NewUploads(b)
	if _, err := uploads.Sweep(t.Context(), time.Now().Add(-storage.UploadsKeptFor)); err != nil {
		t.Fatal(err)
	}
	if got := unfinished(t, raw); len(got) != 3 {
		t.Errorf("%v are left", got)
	}
	if _, err := uploads.Sweep(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := unfinished(t, raw); len(got) != 1 || got[0] != "theirs/x" {
		t.Errorf("%v are left", got)
	}
}

// front is a proxy before a store, whose requests and answers a test may change.
func front(t *testing.T, server *stores.Server, request func(*http.Request), answer func(*http.Response) error) string {
	f := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: server.Address()})
			r.Out.Host = r.In.Host // which is signed
			request(r.Out)
		},
		ModifyResponse: answer,
	})
	t.Cleanup(f.Close)
	return "s3://" + stores.Bucket + "/front?region=us-east-1&endpoint=" + url.QueryEscape(f.URL)
}

// A list that begins behind a key doesn't read what is before it.
func TestS3ListsFromTheMiddle(t *testing.T) {
	var lists atomic.Int64
	b := opened(t, front(t, stores.S3(t), func(r *http.Request) {
		if r.URL.Query().Get("list-type") != "" {
			lists.Add(1)
		}
	}, nil))
	var group errgroup.Group
	group.SetLimit(16)
	for i := range 1500 {
		group.Go(func() error { return b.WriteAll(t.Context(), fmt.Sprintf("many/%05d", i), nil) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	lists.Store(0)
	objects, err := b.List(t.Context(), "many/", "many/01400", 3)
	if err != nil || len(objects) != 3 || objects[0].Key != "many/01401" || lists.Load() != 1 {
		t.Errorf("%v, %v, in %d requests", objects, err, lists.Load())
	}
}

// A store that has done a write but whose answer is lost is asked again, and
// refuses what it has.
func TestS3LostAnswer(t *testing.T) {
	server := stores.S3(t)
	var lose atomic.Bool
	b := opened(t, front(t, server, func(*http.Request) {}, func(r *http.Response) error {
		if r.Request.Method == http.MethodPut && lose.CompareAndSwap(true, false) {
			panic(http.ErrAbortHandler)
		}
		return nil
	}))
	lose.Store(true)
	if err := b.Create(t.Context(), "x", []byte("mine")); err != nil {
		t.Errorf("our own write is taken for another's: %v", err)
	}
	if lose.Load() {
		t.Error("no answer was lost")
	}
	if code := modelmanager.CodeOf(b.Create(t.Context(), "x", []byte("mine"))); code != modelmanager.CodeConflict {
		t.Errorf("the second write: %s", code)
	}
}

// What GCS is asked to sign: its own programs check signatures, those for tests
// don't.
func TestGCSSigns(t *testing.T) {
	server := stores.GCS(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/key.pem"
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600); err != nil {
		t.Fatal(err)
	}
	b := opened(t, "gs://"+stores.Bucket+"/x?access_id=me%40example.org&private_key_path="+url.QueryEscape(path))
	if err := b.WriteAll(t.Context(), "in", []byte("first")); err != nil {
		t.Fatal(err)
	}
	first, err := b.Stat(t.Context(), "in")
	if err != nil {
		t.Fatal(err)
	}
	signed, ok, err := b.SignedURL(t.Context(), storage.SignRequest{Method: "GET", Key: "in", For: time.Minute, ETag: first.ETag})
	if err != nil || !ok || !signed.Pinned {
		t.Fatal(signed, ok, err)
	}
	u, err := url.Parse(signed.URL)
	if err != nil {
		t.Fatal(err)
	}
	if got := u.Query().Get("generation"); got != strings.Trim(first.ETag, `"`) || u.Query().Get("X-Goog-Signature") == "" {
		t.Errorf("%s reads any generation", signed.URL)
	}
	u.Scheme, u.Host = "http", server.Address()
	response, err := http.Get(u.String())
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || string(data) != "first" {
		t.Errorf("%s %q %v", response.Status, data, err)
	}
	sum := md5.Sum([]byte("x"))
	signed, ok, err = b.SignedURL(t.Context(), storage.SignRequest{Method: "PUT", Key: "out", For: time.Minute, Size: 1, MD5: sum[:]})
	if err != nil || !ok || signed.Headers["X-Goog-Content-Length-Range"] != "1,1" || signed.Headers["Content-Md5"] == "" {
		t.Errorf("%+v %v %v", signed.Headers, ok, err)
	}
}
