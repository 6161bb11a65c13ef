package dataset

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	modelmanager "modelmanager.dev"
)

// flaky serves data, breaking off each answer after some bytes.
type flaky struct {
	data     []byte
	etag     atomic.Pointer[string]
	breakAt  int
	failures atomic.Int32 // answers 503 so often
	requests atomic.Int32
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.requests.Add(1)
	if f.failures.Add(-1) >= 0 {
		http.Error(w, "slow down", http.StatusServiceUnavailable)
		return
	}
	if etag := f.etag.Load(); etag != nil {
		w.Header().Set("ETag", *etag)
	}
	if f.breakAt > 0 {
		w = &breaking{ResponseWriter: w, left: f.breakAt}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.data))
}

type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	if len(p) > b.left {
		_, _ = b.ResponseWriter.Write(p[:b.left])
		_ = http.NewResponseController(b.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	b.left -= len(p)
	return b.ResponseWriter.Write(p)
}

func TestHTTPSource(t *testing.T) {
	f := &flaky{data: bytes.Repeat([]byte("0123456789"), 50_000), breakAt: 70_000}
	etag := `"one"`
	f.etag.Store(&etag)
	f.failures.Store(2)
	server := httptest.NewServer(f)
	defer server.Close()
	ctx := context.Background()
	src, err := newHTTPSource(ctx, server.Client(), server.URL+"/a?signature=secret", time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if src.Size() != 500_000 || src.ETag() != etag {
		t.Errorf("size %d, etag %s", src.Size(), src.ETag())
	}
	for _, span := range [][2]int64{{0, -1}, {5, 10}, {499_990, 100}, {123_456, 300_000}, {500_000, -1}} {
		r, err := src.ReadAt(ctx, span[0], span[1])
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		offset, length := clip(500_000, span[0], span[1])
		if !bytes.Equal(got, f.data[offset:offset+length]) {
			t.Errorf("range %v: %d bytes", span, len(got))
		}
		r.Close()
	}
	if n := f.requests.Load(); n < 10 {
		t.Errorf("%d requests", n)
	}
	changed := `"two"`
	f.etag.Store(&changed)
	if _, err := src.ReadAt(ctx, 0, -1); modelmanager.CodeOf(err) != modelmanager.CodeInputChanged {
		t.Errorf("a changed object: %v", err)
	}
	f.etag.Store(&etag)
	f.failures.Store(1000)
	if _, err := src.ReadAt(ctx, 0, -1); modelmanager.CodeOf(err) != modelmanager.CodeStorage || strings.Contains(err.Error(), "secret") {
		t.Errorf("a failing server: %v", err)
	}
	stopped, stop := context.WithCancel(ctx)
	stop()
	if _, err := src.ReadAt(stopped, 0, -1); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled read: %v", err)
	}
}

func TestHTTPSourceOddServers(t *testing.T) {
	ctx := context.Background()
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		code    modelmanager.Code
	}{
		"no ranges": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			_, _ = w.Write([]byte("0123456789"))
		}, ""},
		"missing":   {func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, modelmanager.CodeNotFound},
		"forbidden": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, modelmanager.CodeStorage},
		"empty": {func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(nil))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(test.handler)
			defer server.Close()
			src, err := newHTTPSource(ctx, server.Client(), server.URL, time.Millisecond)
			if modelmanager.CodeOf(err) != test.code {
				t.Fatal(err)
			}
			if err != nil || src.Size() == 0 {
				return
			}
			r, err := src.ReadAt(ctx, 4, 3)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || string(got) != "456" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// TestRemoteParquet reads Parquet over requests for ranges.
func TestRemoteParquet(t *testing.T) {
	f := &flaky{data: everyParquet(t), breakAt: 900}
	server := httptest.NewServer(f)
	defer server.Close()
	src, err := newHTTPSource(context.Background(), server.Client(), server.URL, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	s := everyType(t)
	batches, _ := read(t, src, modelmanager.JobInput{Timezone: "UTC"}, s)
	if n := strings.Count(rowsOf(s, batches), "\n"); n != 3 {
		t.Errorf("%d rows", n)
	}
}

// TestFlatMemory plans and reads a file that is much larger than what may be held.
func TestFlatMemory(t *testing.T) {
	const rows, limit = 400_000, 48 << 20
	path := filepath.Join(t.TempDir(), "large.csv")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	line := []byte("id,text,padding\n")
	for i := range rows + 1 {
		if _, err := file.Write(line); err != nil {
			t.Fatal(err)
		}
		line = strconv.AppendInt(line[:0], int64(i), 10)
		line = append(line, ",\"some\ntext\","...)
		line = append(append(line, strings.Repeat("x", 300)...), '\n')
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	src, err := NewFileSource(path)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	s := textSchema(t)
	ctx := context.Background()
	input, err := Sniff(ctx, src, modelmanager.JobInput{}, s)
	if err != nil {
		t.Fatal(err)
	}
	heap := func() int64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	before := heap()
	slices, err := Plan(ctx, src, input, 100_000)
	if err != nil || len(slices) != 4 {
		t.Fatal(err, len(slices))
	}
	r, err := NewReader(ctx, src, input, s, Whole(), ReaderOptions{Parallel: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for n := 0; ; n++ {
		if _, err := r.Next(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if n%8 == 0 {
			if grown := heap() - before; grown > limit {
				t.Fatalf("after %d batches %d MiB are held, of a file of %d MiB", n, grown>>20, src.Size()>>20)
			}
		}
	}
	if r.Rows() != rows {
		t.Errorf("%d rows", r.Rows())
	}
}

// TestRemoteHead makes sure that a shard far down asks for no more of the
// file's beginning than it takes.
func TestRemoteHead(t *testing.T) {
	text := "id,text\n" + strings.Repeat("1,abcdefgh\n", 400_000)
	server := httptest.NewServer(&flaky{data: []byte(text)})
	defer server.Close()
	ctx := context.Background()
	src, err := newHTTPSource(ctx, server.Client(), server.URL, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	input := modelmanager.JobInput{Format: "csv", HeaderRow: 1}
	last := Slice{Index: 1, Offset: int64(len(text)) - 11, Length: 11, FirstRow: 400_000, Rows: 1}
	r, err := NewReader(ctx, src, input, textSchema(t), last, ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if batches := drain(t, r); len(batches) != 1 || batches[0].FirstRow != 400_000 {
		t.Errorf("batches %+v", batches)
	}
	if n := src.read.Load(); n > 200_000 {
		t.Errorf("%d bytes were read", n)
	}
	last.Rows = 2
	r, err = NewReader(ctx, src, input, textSchema(t), last, ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Next(); modelmanager.CodeOf(err) != modelmanager.CodeInputChanged {
		t.Errorf("a slice with too few rows: %v", err)
	}
	short := NewRangeSource(100, func(context.Context, int64, int64) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("id,text\n1,a\n")), nil
	})
	if _, err := Plan(ctx, short, input, 1); modelmanager.CodeOf(err) != modelmanager.CodeStorage {
		t.Errorf("a range that ends early: %v", err)
	}
}
