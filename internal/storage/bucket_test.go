package storage

import (
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func keys(objects []Object) []string {
	var keys []string
	for _, o := range objects {
		keys = append(keys, o.Key)
	}
	return keys
}

func TestList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.StringMatching(`[a-c.\-0é]{1,3}`)
		names := rapid.SliceOfDistinct(rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(part, 1, 3).Draw(t, "parts"), "/")
		}), rapid.ID[string]).Draw(t, "keys")
		dir, err := os.MkdirTemp("", "list")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		b, err := Open(t.Context(), "file://"+dir)
		if err != nil {
			t.Fatal(err)
		}
		var written []string
		for _, key := range names {
			// A file can't have the name of a folder; object stores don't mind.
			if checkKey(key) == nil && b.WriteAll(t.Context(), key, nil) == nil {
				written = append(written, key)
			}
		}
		sort.Strings(written)
		prefix := rapid.StringMatching(`([a-c]{1,2}/)?[a-c\-]{0,1}`).Draw(t, "prefix")
		after := rapid.StringMatching(`[a-c\-]{0,2}(/[a-c\-]{0,2})?`).Draw(t, "after")
		limit := rapid.IntRange(1, 5).Draw(t, "limit")
		var want []string
		for _, key := range written {
			if strings.HasPrefix(key, prefix) && key > after && len(want) < limit {
				want = append(want, key)
			}
		}
		got, err := b.List(t.Context(), prefix, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, keys(got)); diff != "" {
			t.Errorf("prefix %q after %q limit %d of %q:\n%s", prefix, after, limit, written, diff)
		}
	})
}

func TestFilesStayInside(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"file": secret, "folder": outside} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := Open(t.Context(), "file://"+dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"file", "folder/secret"} {
		if r, err := b.Read(t.Context(), key, 0, -1); err == nil {
			r.Close()
			t.Errorf("%s can be read", key)
		}
		if _, err := b.Stat(t.Context(), key); err == nil {
			t.Errorf("%s can be seen", key)
		}
	}
	if b.WriteAll(t.Context(), "folder/new", nil) == nil {
		t.Error("a file was written outside")
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 1 {
		t.Errorf("outside has %v", entries)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("the directory has %v", entries)
	}
}
