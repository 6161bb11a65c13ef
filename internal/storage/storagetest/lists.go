package storagetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"modelmanager.dev"
	"modelmanager.dev/internal/storage"
)

func lists(t *testing.T, b *storage.Bucket) {
	all := []string{"a-b", "a/b", "a/c-d/e", "a/c/f", "a0", "b c/d+e&f=g", "b/é/x", "b/中", "z;x/'q'(1)!*@$,:~"}
	for _, key := range all {
		write(t, b, key, key)
	}
	slices.Sort(all)
	for _, prefix := range []string{"", "a", "a/", "a/c", "a/c/", "b", "b/é", "nothing/", "z;"} {
		for _, after := range append([]string{"", "a/", "a/c0", "b/\U0010ffff", "zz"}, all...) {
			for _, limit := range []int{0, 1, 3} {
				var want []string
				for _, key := range all {
					if strings.HasPrefix(key, prefix) && key > after && (limit == 0 || len(want) < limit) {
						want = append(want, key)
					}
				}
				if diff := cmp.Diff(want, listed(t, b, prefix, after, limit)); diff != "" {
					t.Errorf("prefix %q after %q limit %d:\n%s", prefix, after, limit, diff)
				}
			}
		}
	}
	// On Azure these sort elsewhere: '%', '"', '#' and '?' are escaped there.
	odd := []string{"c%2Fd/%41", `c"d`, "c?d#e", "c+d"}
	for _, key := range odd {
		write(t, b, key, key)
	}
	for _, key := range append(odd, all...) {
		if got := content(t, b, key); got != key {
			t.Errorf("%s has the content of %s", key, got)
		}
	}
	objects, err := b.List(t.Context(), "a0", "", 1)
	if err != nil || len(objects) != 1 || objects[0].Size != 2 || objects[0].Modified.IsZero() {
		t.Error(objects, err)
	}
	_, err = b.List(t.Context(), "../", "", 0)
	wantCode(t, err, modelmanager.CodeBadRequest)
}

// longLists are longer than a page of any medium.
func longLists(t *testing.T, b *storage.Bucket) {
	const n = 1203
	var group errgroup.Group
	group.SetLimit(16)
	for i := range n {
		group.Go(func() error { return b.WriteAll(t.Context(), fmt.Sprintf("many/%05d", i), nil) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	write(t, b, "other", "")
	for _, c := range []struct{ after, limit, want int }{{-1, 0, n}, {-1, 1001, 1001}, {99, 0, n - 100}, {1100, 50, 50}, {1200, 50, 2}, {99, 1100, 1100}} {
		after := ""
		if c.after >= 0 {
			after = fmt.Sprintf("many/%05d", c.after)
		}
		got := listed(t, b, "many/", after, c.limit)
		if len(got) != c.want {
			t.Errorf("after %q limit %d: %d keys, want %d", after, c.limit, len(got), c.want)
			continue
		}
		for i, key := range got {
			if want := fmt.Sprintf("many/%05d", c.after+1+i); key != want {
				t.Fatalf("after %q limit %d: %s in place of %s", after, c.limit, key, want)
			}
		}
	}
	if err := b.DeletePrefix(t.Context(), "many/"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"other"}, listed(t, b, "", "", 0)); diff != "" {
		t.Error(diff)
	}
}

func deletePrefix(t *testing.T, b *storage.Bucket) {
	for _, key := range []string{"jobs/a/1", "jobs/a/sub/2", "jobs/ab/3", "other"} {
		write(t, b, key, "")
	}
	if err := b.DeletePrefix(t.Context(), "jobs/a/"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"jobs/ab/3", "other"}, listed(t, b, "", "", 0)); diff != "" {
		t.Error(diff)
	}
	wantCode(t, b.DeletePrefix(t.Context(), ""), modelmanager.CodeBadRequest)
}

func keys(t *testing.T, b *storage.Bucket) {
	for _, key := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "../x", "a/../b", "a/./b", `a\b`, "a__0x2f__b",
		"a\x00", "a\nb", "\xff", ".mm-tmp/x", strings.Repeat("a", 2000), strings.Repeat("a", 256)} {
		_, err := b.Read(t.Context(), key, 0, -1)
		wantCode(t, err, modelmanager.CodeBadRequest)
		_, _, err = b.SignedURL(t.Context(), storage.SignRequest{Method: "GET", Key: key})
		wantCode(t, err, modelmanager.CodeBadRequest)
		wantCode(t, b.WriteAll(t.Context(), key, nil), modelmanager.CodeBadRequest)
		wantCode(t, b.Delete(t.Context(), key), modelmanager.CodeBadRequest)
	}
}
