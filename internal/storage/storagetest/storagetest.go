// Package storagetest holds every medium of package storage to what the
// package promises.
package storagetest

import (
	"fmt"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/storage"
)

// Run runs the suite. open returns an empty bucket, another at each call.
func Run(t *testing.T, open func(t *testing.T) *storage.Bucket) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, b *storage.Bucket)
	}{
		{"objects appear whole", appearWhole},
		{"ranges", ranges},
		{"reads of one content", matching},
		{"one of many creates wins", createOnce},
		{"one of many large creates wins", createLargeOnce},
		{"an aborted large write leaves nothing", abortLarge},
		{"folders come and go", deleteWhileWriting},
		{"lists", lists},
		{"long lists", longLists},
		{"prefixes are deleted", deletePrefix},
		{"keys", keys},
		{"URLs of the server", serverURLs},
		{"URLs of the store", storeURLs},
		{"a broken body leaves nothing", brokenBody},
		{"uploads", uploads},
		{"replicas share uploads", sharedUploads},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

func content(t *testing.T, b *storage.Bucket, key string) string {
	t.Helper()
	data, err := b.ReadAll(t.Context(), key, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func write(t *testing.T, b *storage.Bucket, key, text string) {
	t.Helper()
	if err := b.WriteAll(t.Context(), key, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, code modelmanager.Code) {
	t.Helper()
	if got := modelmanager.CodeOf(err); got != code {
		t.Errorf("code %q, want %q (%v)", got, code, err)
	}
}

func wantEmpty(t *testing.T, b *storage.Bucket) {
	t.Helper()
	if objects, err := b.List(t.Context(), "", "", 0); err != nil || len(objects) != 0 {
		t.Error(objects, err)
	}
}

func listed(t *testing.T, b *storage.Bucket, prefix, after string, limit int) []string {
	t.Helper()
	objects, err := b.List(t.Context(), prefix, after, limit)
	if err != nil {
		t.Fatal(fmt.Errorf("listing %q after %q: %w", prefix, after, err))
	}
	var keys []string
	for _, o := range objects {
		keys = append(keys, o.Key)
	}
	return keys
}
