package storage_test

import (
	"fmt"
	"strings"
	"testing"

	"modelmanager.dev/internal/storage"
	"modelmanager.dev/internal/storage/storagetest"
	"modelmanager.dev/test/stores"
)

func opened(t *testing.T, address string) *storage.Bucket {
	t.Helper()
	b, err := storage.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// folder names a folder for a test, with what a URL has to escape.
func folder(t *testing.T) string {
	return fmt.Sprintf("team%%20a/%s", strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
}

func TestMemory(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) *storage.Bucket { return opened(t, "mem://") })
}

func TestFiles(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) *storage.Bucket { return opened(t, "file://"+t.TempDir()) })
}

func TestS3(t *testing.T) {
	server := stores.S3(t)
	storagetest.Run(t, func(t *testing.T) *storage.Bucket { return opened(t, server.S3URL(folder(t))) })
}

func TestGCS(t *testing.T) {
	stores.GCS(t)
	storagetest.Run(t, func(t *testing.T) *storage.Bucket { return opened(t, "gs://"+stores.Bucket+"/"+folder(t)) })
}

func TestAzure(t *testing.T) {
	stores.Azure(t)
	storagetest.Run(t, func(t *testing.T) *storage.Bucket { return opened(t, "azblob://"+stores.Bucket+"/"+folder(t)) })
}
