package storagetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/storage"
)

func appearWhole(t *testing.T, b *storage.Bucket) {
	ctx := t.Context()
	_, err := b.Stat(ctx, "a/b")
	wantCode(t, err, modelmanager.CodeNotFound)
	_, err = b.Read(ctx, "a/b", 0, -1)
	wantCode(t, err, modelmanager.CodeNotFound)
	if err := b.Delete(ctx, "a/b"); err != nil {
		t.Error(err)
	}
	w, err := b.Write(ctx, "a/b")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "hello")
	wantEmpty(t, b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	first, err := b.Stat(ctx, "a/b")
	if err != nil || first.Size != 5 || first.ETag == "" || first.Modified.IsZero() {
		t.Fatal(first, err)
	}
	aborted, err := b.Write(ctx, "a/b")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(aborted, "lost")
	aborted.Abort()
	cancelled, cancel := context.WithCancel(ctx)
	late, err := b.Write(cancelled, "a/b")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(late, "lost too")
	cancel()
	if late.Close() == nil {
		t.Error("a write whose context ended succeeded")
	}
	if got := content(t, b, "a/b"); got != "hello" {
		t.Errorf("content %q", got)
	}
	write(t, b, "a/b", "again")
	second, _ := b.Stat(ctx, "a/b")
	if first.ETag == second.ETag {
		t.Error("new content, same ETag")
	}
}

func ranges(t *testing.T, b *storage.Bucket) {
	write(t, b, "a/b", "again")
	write(t, b, "empty", "")
	for _, r := range []struct {
		key            string
		offset, length int64
		want           string
	}{{"a/b", 0, -1, "again"}, {"a/b", 1, 2, "ga"}, {"a/b", 3, 100, "in"}, {"a/b", 9, 5, ""}, {"a/b", 5, -1, ""}, {"a/b", 2, 0, ""},
		{"a/b", 4, -1, "n"}, {"empty", 0, -1, ""}, {"empty", 0, 5, ""}, {"empty", 3, -1, ""}} {
		body, err := b.Read(t.Context(), r.key, r.offset, r.length)
		if err != nil {
			t.Errorf("%s %d+%d: %v", r.key, r.offset, r.length, err)
			continue
		}
		got, err := io.ReadAll(body)
		if err != nil || string(got) != r.want {
			t.Errorf("%s %d+%d: %q, %v", r.key, r.offset, r.length, got, err)
		}
		body.Close()
	}
	_, err := b.Read(t.Context(), "a/b", -1, 2)
	wantCode(t, err, modelmanager.CodeBadRequest)
}

func matching(t *testing.T, b *storage.Bucket) {
	ctx := t.Context()
	write(t, b, "x", "hello")
	a, err := b.Stat(ctx, "x")
	if err != nil {
		t.Fatal(err)
	}
	body, err := b.ReadMatching(ctx, "x", a.ETag, 1, -1)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(body)
	body.Close()
	if err != nil || string(got) != "ello" {
		t.Errorf("%q, %v", got, err)
	}
	write(t, b, "x", "other")
	_, err = b.ReadMatching(ctx, "x", a.ETag, 1, -1)
	wantCode(t, err, modelmanager.CodeInputChanged)
	if err := b.Delete(ctx, "x"); err != nil {
		t.Fatal(err)
	}
	_, err = b.ReadMatching(ctx, "x", a.ETag, 0, -1)
	wantCode(t, err, modelmanager.CodeInputChanged)

	// What is replaced while it is read is read to its end, or is an error.
	const size = 12 << 20
	write(t, b, "big", strings.Repeat("a", size))
	if body, err = b.Read(ctx, "big", 0, -1); err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	head := make([]byte, 1<<20)
	if _, err := io.ReadFull(body, head); err != nil {
		t.Fatal(err)
	}
	write(t, b, "big", strings.Repeat("b", size))
	rest, err := io.ReadAll(body)
	if err == nil && (len(rest) != size-len(head) || bytes.IndexByte(rest, 'b') >= 0) {
		t.Errorf("%d bytes of two contents were read as one", len(rest))
	}
}

func createOnce(t *testing.T, b *storage.Bucket) {
	for round := range 20 {
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
		wantCode(t, b.Create(t.Context(), key, nil), modelmanager.CodeConflict)
	}
}

// large is more than fits into one request of any medium.
const large = 40 << 20

func createLargeOnce(t *testing.T, b *storage.Bucket) {
	var won atomic.Int32
	var winner atomic.Value
	var group sync.WaitGroup
	for i := range 2 {
		group.Go(func() {
			w, err := b.CreateWrite(t.Context(), "large")
			if err != nil {
				t.Error(err)
				return
			}
			defer w.Abort()
			err = fill(w, byte('a'+i), large)
			if err == nil {
				err = w.Close()
			}
			switch {
			case err == nil:
				won.Add(1)
				winner.Store(byte('a' + i))
			case modelmanager.CodeOf(err) != modelmanager.CodeConflict:
				t.Error(err)
			}
		})
	}
	group.Wait()
	got := content(t, b, "large")
	if won.Load() != 1 || len(got) != large || strings.Count(got, string(winner.Load().(byte))) != large {
		t.Fatalf("%d writers won; %d bytes", won.Load(), len(got))
	}
	// One that is late by far fails, too, and the first stays.
	w, err := b.CreateWrite(t.Context(), "large")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if err = fill(w, 'z', large); err == nil {
		err = w.Close()
	}
	wantCode(t, err, modelmanager.CodeConflict)
	if content(t, b, "large") != got {
		t.Error("a refused write changed the object")
	}
}

func fill(w io.Writer, c byte, n int) error {
	chunk := bytes.Repeat([]byte{c}, 1<<20)
	for ; n > 0; n -= len(chunk) {
		if _, err := w.Write(chunk); err != nil {
			return err
		}
	}
	return nil
}

func abortLarge(t *testing.T, b *storage.Bucket) {
	ctx, cancel := context.WithCancel(t.Context())
	for _, end := range []func(w *storage.Writer){
		func(w *storage.Writer) { w.Abort() },
		func(w *storage.Writer) {
			cancel()
			if w.Close() == nil {
				t.Error("a write whose context ended succeeded")
			}
		},
	} {
		w, err := b.Write(ctx, "large")
		if err != nil {
			t.Fatal(err)
		}
		if err := fill(w, 'a', large); err != nil {
			t.Fatal(err)
		}
		wantEmpty(t, b)
		end(w)
		wantEmpty(t, b)
	}
}

func deleteWhileWriting(t *testing.T, b *storage.Bucket) {
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for range 20 {
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
}
