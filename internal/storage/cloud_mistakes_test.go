package storage_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/storage"
	"modelmanager.dev/test/stores"
)

func TestS3IgnoresConditions(t *testing.T) {
	address := front(t, stores.S3(t), func(r *http.Request) {
		if r.Method == http.MethodPut {
			r.URL.RawQuery = "" // and another object, so that nothing is in the way
			r.URL.Path += fmt.Sprint(time.Now().UnixNano())
		}
	}, func(r *http.Response) error {
		if r.Request.Method == http.MethodPut {
			r.StatusCode, r.Body, r.ContentLength = 200, http.NoBody, 0
			r.Header = http.Header{"Etag": {`"x"`}}
		}
		return nil
	})
	_, err := storage.Open(t.Context(), address)
	if err == nil || !strings.Contains(err.Error(), "ignores the condition") {
		t.Errorf("%v", err)
	}
}

func TestS3Mistakes(t *testing.T) {
	server := stores.S3(t)
	good := server.S3URL("x")
	try := func(address, want string, environment ...string) {
		t.Helper()
		for i := 0; i < len(environment); i += 2 {
			old := os.Getenv(environment[i])
			os.Setenv(environment[i], environment[i+1])
			defer os.Setenv(environment[i], old)
		}
		started := time.Now()
		_, err := storage.Open(t.Context(), address)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "s3://") {
			t.Errorf("%q doesn't say %q", err, want)
		}
		if strings.Contains(err.Error(), "a secret") {
			t.Errorf("%q tells a secret", err)
		}
		if time.Since(started) > 20*time.Second {
			t.Errorf("it took %s", time.Since(started))
		}
		t.Log(err)
	}
	try(strings.Replace(good, stores.Bucket, "missing", 1), "create the bucket missing")
	try(good, "credentials", "AWS_SECRET_ACCESS_KEY", "a secret that is wrong")
	try(good, "there are no credentials", "AWS_ACCESS_KEY_ID", "", "AWS_SECRET_ACCESS_KEY", "")
	try(good+"&nonsense=1", "nonsense")
	try("s3://"+stores.Bucket+"/x", "region")
	try("s3://"+stores.Bucket+"/x?region=x&endpoint=ftp://x", "endpoint")
	try("s3://user@"+stores.Bucket+"/x", "write it as")
	try("s3://"+stores.Bucket+"/../x?region=us-east-1", "plain relative path")
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	try("s3://"+stores.Bucket+"/x?region=x&endpoint=http://"+closed.Addr().String(), "can't be reached")
	try("s3://"+stores.Bucket+"/x?region=x&endpoint=http://nowhere.invalid", "there is no host")

	// A bucket that goes away isn't an object that isn't there.
	b := opened(t, good)
	server.Stop()
	_, err = b.Stat(t.Context(), "k")
	if modelmanager.CodeOf(err) != modelmanager.CodeStorage || !strings.Contains(err.Error(), "s3://models/x/k") {
		t.Error(err)
	}
	server.Start()
	if err := b.WriteAll(t.Context(), "k", nil); err != nil {
		t.Errorf("after it is back: %v", err)
	}
}

func TestOtherMistakes(t *testing.T) {
	stores.GCS(t)
	stores.Azure(t)
	for _, address := range []string{"gs://missing/x", "gs://models/x?endpoint=http://x", "gs:///x", "azblob://missing/x", "azblob://models/x?endpoint=y",
		"azblob:///x", "ftp://x/y", "file://host/x", "s3:///x"} {
		_, err := storage.Open(t.Context(), address)
		if err == nil {
			t.Errorf("%s was opened", address)
		}
		t.Log(err)
	}
}

func TestCloudLocations(t *testing.T) {
	server := stores.S3(t)
	out := server.S3URL("out")
	l, err := storage.NewLocations(t.Context(), []string{server.S3URL("in/"), out})
	if err != nil {
		t.Fatal(err)
	}
	b, key, err := l.Resolve("s3://models/out/a b/part-1.csv")
	if err != nil || key != "a b/part-1.csv" {
		t.Fatal(key, err)
	}
	if err := b.WriteAll(t.Context(), key, []byte("x")); err != nil {
		t.Fatal(err)
	}
	whole := opened(t, server.S3URL(""))
	if _, err := whole.Stat(t.Context(), "out/a b/part-1.csv"); err != nil {
		t.Error(err)
	}
	for _, uri := range []string{"s3://models/outside/x", "s3://models/out/../in/x", "s3://models/out/%2e%2e/secret", "s3://models/out/..%2fsecret",
		"s3://models/out%2fx", "s3://other/out/x", "s3://models.evil.example/out/x", "s3://models:9000/out/x", "s3://evil@models/out/x",
		"s3://models@evil/out/x", "S3://models/out/x", "s3://MODELS/out/x", "s3://models/out/x?endpoint=http://169.254.169.254",
		"s3://models/out/x?region=y", "s3://models/out/x?", "s3://models/out/x#y", "s3://models//out/x", "s3://models/out//x", "s3://models/out/./x",
		"s3:/models/out/x", "s3:models/out/x", "s3://models/out/__0x2e____0x2e____0x2f__secret", "s3://models/out/", "s3://models/", "gs://models/out/x",
		"azblob://models/out/x", "s3://models/out/\x00", "s3://models/out/a%0ab", `s3://models/out\..\in/x`, "s3://models%2fout/x", "s3://models/OUT/x"} {
		if _, _, err := l.Resolve(uri); modelmanager.CodeOf(err) != modelmanager.CodeForbidden {
			t.Errorf("%q: %v", uri, err)
		}
	}
	for _, p := range l.Prefixes() {
		if strings.Contains(p, "endpoint") {
			t.Errorf("%s tells the endpoint", p)
		}
	}
	for folder, covered := range map[string]bool{"server": false, "out": true, "out/server": true, "": true, "outer": false} {
		if got := l.Covers(opened(t, server.S3URL(folder))); (got != "") != covered {
			t.Errorf("%q is covered by %q", folder, got)
		}
	}
	_, err = storage.NewLocations(t.Context(), []string{out, "s3://models/in?region=us-east-1"})
	if modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
		t.Error(err)
	}
}
