package storage

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"modelmanager.dev"
	"pgregory.net/rapid"
)

// eachBucket runs a test against every medium.
func eachBucket(t *testing.T, test func(t *testing.T, b *Bucket)) {
	for name, address := range map[string]string{"mem": "mem://", "file": "file://" + t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			b, err := Open(t.Context(), address)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			test(t, b)
		})
	}
}

func content(t *testing.T, b *Bucket, key string) string {
	t.Helper()
	data, err := b.ReadAll(t.Context(), key, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func wantCode(t *testing.T, err error, code modelmanager.Code) {
	t.Helper()
	if got := modelmanager.CodeOf(err); got != code {
		t.Errorf("code %q, want %q (%v)", got, code, err)
	}
}

func keys(objects []Object) []string {
	var keys []string
	for _, o := range objects {
		keys = append(keys, o.Key)
	}
	return keys
}

func TestObjectsAppearWhole(t *testing.T) {
	eachBucket(t, func(t *testing.T, b *Bucket) {
		ctx := t.Context()
		_, err := b.Stat(ctx, "a/b")
		wantCode(t, err, modelmanager.CodeNotFound)
		_, err = b.Read(ctx, "a/b", 0, -1)
		wantCode(t, err, modelmanager.CodeNotFound)

		w, err := b.Write(ctx, "a/b")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, "hello")
		if objects, _ := b.List(ctx, "", "", 0); len(objects) != 0 {
			t.Errorf("an unfinished object is listed: %v", objects)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		first, err := b.Stat(ctx, "a/b")
		if err != nil || first.Size != 5 || first.ETag == "" {
			t.Fatal(first, err)
		}
		aborted, _ := b.Write(ctx, "a/b")
		fmt.Fprint(aborted, "lost")
		aborted.Abort()
		cancelled, cancel := context.WithCancel(ctx)
		late, _ := b.Write(cancelled, "a/b")
		fmt.Fprint(late, "lost too")
		cancel()
		if late.Close() == nil {
			t.Error("a write whose context ended succeeded")
		}
		if got := content(t, b, "a/b"); got != "hello" {
			t.Errorf("content %q", got)
		}
		if err := b.WriteAll(ctx, "a/b", []byte("again")); err != nil {
			t.Fatal(err)
		}
		second, _ := b.Stat(ctx, "a/b")
		if first.ETag == second.ETag {
			t.Error("new content, same ETag")
		}
		for _, r := range []struct {
			offset, length int64
			want           string
		}{{0, -1, "again"}, {1, 2, "ga"}, {3, 100, "in"}, {9, 5, ""}, {5, -1, ""}} {
			body, err := b.Read(ctx, "a/b", r.offset, r.length)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(body)
			if err != nil || string(got) != r.want {
				t.Errorf("range %d+%d: %q, %v", r.offset, r.length, got, err)
			}
			body.Close()
		}
	})
}

func TestCreateWriteOnce(t *testing.T) {
	eachBucket(t, func(t *testing.T, b *Bucket) {
		for round := range 50 {
			key := fmt.Sprintf("shards/%05d.json", round)
			var won atomic.Int32
			var winner atomic.Value
			var group sync.WaitGroup
			for i := range 8 {
				group.Go(func() {
					value := fmt.Sprint("writer ", i)
					switch err := b.Create(t.Context(), key, []byte(value)); {
					case err == nil:
						won.Add(1)
						winner.Store(value)
					case modelmanager.CodeOf(err) != modelmanager.CodeConflict:
						t.Error(err)
					}
				})
			}
			group.Wait()
			if won.Load() != 1 || content(t, b, key) != winner.Load() {
				t.Fatalf("round %d: %d writers won, content %q", round, won.Load(), content(t, b, key))
			}
		}
	})
}

func TestDeleteWhileWriting(t *testing.T) {
	eachBucket(t, func(t *testing.T, b *Bucket) {
		var group sync.WaitGroup
		for i := range 4 {
			group.Go(func() {
				for range 50 {
					key := fmt.Sprintf("folder/sub/%d", i)
					if err := b.WriteAll(t.Context(), key, []byte("x")); err != nil {
						t.Error(err)
					}
					if err := b.Delete(t.Context(), key); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
	})
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

func TestDeletePrefix(t *testing.T) {
	eachBucket(t, func(t *testing.T, b *Bucket) {
		for _, key := range []string{"jobs/a/1", "jobs/a/sub/2", "jobs/ab/3", "other"} {
			if err := b.WriteAll(t.Context(), key, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.DeletePrefix(t.Context(), "jobs/a/"); err != nil {
			t.Fatal(err)
		}
		left, _ := b.List(t.Context(), "", "", 0)
		if diff := cmp.Diff([]string{"jobs/ab/3", "other"}, keys(left)); diff != "" {
			t.Error(diff)
		}
		wantCode(t, b.DeletePrefix(t.Context(), ""), modelmanager.CodeBadRequest)
	})
}

func TestKeys(t *testing.T) {
	eachBucket(t, func(t *testing.T, b *Bucket) {
		for _, key := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "../x", "a/../b", "a/./b", `a\b`,
			"a\x00", "a\nb", "\xff", scratch + "/x", strings.Repeat("a", 2000), strings.Repeat("a", 256)} {
			_, err := b.Read(t.Context(), key, 0, -1)
			wantCode(t, err, modelmanager.CodeBadRequest)
			wantCode(t, b.WriteAll(t.Context(), key, nil), modelmanager.CodeBadRequest)
			wantCode(t, b.Delete(t.Context(), key), modelmanager.CodeBadRequest)
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
