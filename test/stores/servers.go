package stores

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"modelmanager.dev/test/stores/programs"
)

// Bucket is the name of the bucket, or container, that each server has.
const Bucket = "models"

// What the servers take as credentials. Azurite's account is the one that its
// manual names.
const (
	AccessKey = "tester"
	SecretKey = "a secret for tests"

	account    = "devstoreaccount1"
	accountKey = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// S3 starts a server, and sets the environment's credentials to its. URL opens
// a folder in its bucket.
func S3(t testing.TB) *Server {
	t.Helper()
	return S3At(t, "127.0.0.1")
}

// S3At is S3 on another address of this machine, so that pods reach it.
func S3At(t testing.TB, host string) *Server {
	t.Helper()
	setenv(t, []string{"AWS_"}, map[string]string{
		"AWS_ACCESS_KEY_ID": AccessKey, "AWS_SECRET_ACCESS_KEY": SecretKey,
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	})
	data := t.TempDir()
	if err := os.Mkdir(filepath.Join(data, Bucket), 0o755); err != nil {
		t.Fatal(err)
	}
	return runAt(t, host, programs.VersityGW, func(address string) []string {
		return []string{"--access", AccessKey, "--secret", SecretKey, "--port", address, "--quiet", "--keep-alive", "posix", data}
	})
}

// S3URL is the URL of a folder in the bucket of a server that S3 started.
func (s *Server) S3URL(folder string) string {
	return "s3://" + Bucket + "/" + folder + "?region=us-east-1&endpoint=" + url.QueryEscape("http://"+s.address)
}

// GCS starts a server, and returns the URL of its bucket.
func GCS(t testing.TB) *Server {
	t.Helper()
	data := t.TempDir()
	s := run(t, programs.FakeGCS, func(address string) []string {
		host, port, _ := net.SplitHostPort(address)
		return []string{"-scheme", "http", "-host", host, "-port", port, "-backend", "memory", "-filesystem-root", data,
			"-external-url", "http://" + address, "-public-host", address, "-log-level", "error"}
	})
	setenv(t, []string{"GOOGLE_", "STORAGE_"}, map[string]string{"STORAGE_EMULATOR_HOST": s.address})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.address+"/storage/v1/b?project=test",
		bytes.NewReader([]byte(`{"name": "`+Bucket+`"}`)))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("making a bucket: %s", response.Status)
	}
	return s
}

// Azure starts a server, and sets the environment's credentials to its.
func Azure(t testing.TB) *Server {
	t.Helper()
	data := t.TempDir()
	s := run(t, programs.Azurite, func(address string) []string {
		host, port, _ := net.SplitHostPort(address)
		return []string{"--blobHost", host, "--blobPort", port, "--location", data, "--silent", "--disableTelemetry", "--skipApiVersionCheck"}
	})
	setenv(t, []string{"AZURE_"}, map[string]string{
		"AZURE_STORAGE_ACCOUNT": account, "AZURE_STORAGE_KEY": accountKey, "AZURE_STORAGE_DOMAIN": s.address, "AZURE_STORAGE_PROTOCOL": "http",
	})
	key, err := container.NewSharedKeyCredential(account, accountKey)
	if err != nil {
		t.Fatal(err)
	}
	client, err := container.NewClientWithSharedKeyCredential("http://"+s.address+"/"+account+"/"+Bucket, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Create(context.WithoutCancel(t.Context()), nil); err != nil {
		t.Fatal(err)
	}
	return s
}
