package batch

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/shard"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/storage"
	"modelmanager.dev/test/stores"
)

// cloudWorld is a world whose objects are in a real store of S3, behind a
// front that counts what agents do there.
type cloudWorld struct {
	*world
	front  *front // of S3
	scheme string
	puts   atomic.Int64 // of agents, through the server
	gets   atomic.Int64
}

// front is a proxy before the store. Signed URLs are known by their query.
type front struct {
	*httptest.Server
	mu     sync.Mutex
	signed []string // method and path of each request with a signed URL
	refuse func(r *http.Request) bool
}

func newFront(t *testing.T, address string) *front {
	f := &front{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: address})
		r.Out.Host = r.In.Host // which is signed
	}}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("X-Amz-Signature") != "" {
			f.mu.Lock()
			f.signed = append(f.signed, r.Method+" "+r.URL.Path)
			refuse := f.refuse
			f.mu.Unlock()
			if refuse != nil && refuse(r) {
				http.Error(w, "no", http.StatusForbidden)
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *front) count(prefix string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, line := range f.signed {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

func newCloudWorld(t *testing.T, change func(*spec.Spec)) *cloudWorld {
	t.Helper()
	server := stores.S3(t)
	f := newFront(t, server.Address())
	at := func(folder string) string {
		return "s3://" + stores.Bucket + "/" + folder + "?region=us-east-1&endpoint=" + url.QueryEscape(f.URL)
	}
	return newCloudWorldIn(t, change, f, at)
}

func newCloudWorldIn(t *testing.T, change func(*spec.Spec), f *front, at func(folder string) string) *cloudWorld {
	t.Helper()
	c := &cloudWorld{world: newWorldIn(t, change, at("server"), []string{at("in"), at("out")}), front: f}
	c.scheme, _, _ = strings.Cut(at(""), "://")
	c.platform.runDir = t.TempDir()
	own := c.server.Config.Handler
	c.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, storage.PathObjects) {
			switch r.Method {
			case http.MethodPut:
				c.puts.Add(1)
			case http.MethodGet:
				if !strings.HasSuffix(r.URL.Path, ".json") { // not the progress of a search
					c.gets.Add(1)
				}
			}
		}
		own.ServeHTTP(w, r)
	})
	return c
}

// object writes an input to the allowed prefix.
func (c *cloudWorld) object(name string, data []byte) modelmanager.JobInput {
	c.t.Helper()
	uri := c.scheme + "://" + stores.Bucket + "/in/" + name
	bucket, key, err := c.locations.Resolve(uri)
	if err == nil {
		err = bucket.WriteAll(c.t.Context(), key, data)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return modelmanager.JobInput{URI: uri}
}

func (c *cloudWorld) read(uri string) string {
	c.t.Helper()
	bucket, key, err := c.locations.Resolve(uri)
	if err != nil {
		c.t.Fatal(err)
	}
	data, err := bucket.ReadAll(c.t.Context(), key, 1<<30)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(data)
}

// doubled is the output for csv's input.
func doubled(from, to int) string {
	var b strings.Builder
	b.WriteString("id,x,y\n")
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, "row-%d,%d,%d\n", i, i, 2*i)
	}
	return b.String()
}

func TestJobOnS3(t *testing.T) {
	w := newCloudWorld(t, nil)
	request := w.request(w.object("rows.csv", csv(950, map[int]string{7: "seven"})))
	request.MaxRejected = "1"
	request.Output.URI = "s3://" + stores.Bucket + "/out/run 1"
	job := w.run(request)
	if job.State != modelmanager.JobSucceeded || job.Rows.Predicted != 949 || job.Rows.Rejected != 1 {
		t.Fatalf("%+v", job)
	}
	var all strings.Builder
	for i := range 10 {
		part := w.read(fmt.Sprintf("%s/part-%05d.csv", request.Output.URI, i))
		if i > 0 {
			_, part, _ = strings.Cut(part, "\n")
		}
		all.WriteString(part)
	}
	want := strings.Replace(doubled(1, 950), "row-7,7,14\n", "", 1)
	if diff := cmp.Diff(want, all.String()); diff != "" {
		t.Error(diff)
	}
	if w.read(request.Output.URI+"/_SUCCESS") != "" {
		t.Error("_SUCCESS isn't empty")
	}
	if got := w.output(job.ID); got != want {
		t.Errorf("the output as one has %d bytes, want %d", len(got), len(want))
	}
	if got := w.rejected(job.ID); len(got) != 1 || got[0].Row != 7 {
		t.Errorf("%+v", got)
	}
	// No row went through the server.
	if w.puts.Load() != 0 || w.gets.Load() != 0 {
		t.Errorf("%d PUTs and %d GETs went through the server", w.puts.Load(), w.gets.Load())
	}
	if gets, puts := w.front.count("GET /models/in/rows.csv"), w.front.count("PUT /models/server/jobs/"); gets < 10 || puts != 20 {
		t.Errorf("%d GETs and %d PUTs at the store", gets, puts)
	}
	if left, _ := os.ReadDir(w.platform.runDir); len(left) != 0 {
		t.Errorf("agents leave %v", left)
	}
	// The same folder isn't written twice.
	if _, err := w.service.Submit(t.Context(), request); modelmanager.CodeOf(err) != modelmanager.CodeConflict {
		t.Error(err)
	}
}

func TestJobOnOtherStores(t *testing.T) {
	for scheme, direct := range map[string]bool{"gs": false, "azblob": true} {
		t.Run(scheme, func(t *testing.T) {
			if scheme == "gs" {
				stores.GCS(t)
			} else {
				stores.Azure(t)
			}
			w := newCloudWorldIn(t, nil, nil, func(folder string) string { return scheme + "://" + stores.Bucket + "/" + folder })
			request := w.request(w.object("rows.csv", csv(450, nil)))
			request.Output.URI = scheme + "://" + stores.Bucket + "/out/run"
			job := w.run(request)
			if job.State != modelmanager.JobSucceeded || w.output(job.ID) != doubled(1, 450) {
				t.Fatalf("%+v", job)
			}
			if got := w.read(request.Output.URI + "/part-00004.csv"); got != doubled(401, 450) {
				t.Errorf("the last part is %q", got)
			}
			if through := w.puts.Load() + w.gets.Load(); (through == 0) != direct {
				t.Errorf("%d transfers through the server", through)
			}
		})
	}
}

// An agent that can't reach the store, or isn't let in, goes through the server.
func TestStoreIsClosedToAgents(t *testing.T) {
	for name, refuse := range map[string]func(r *http.Request) bool{
		"all":     func(*http.Request) bool { return true },
		"writing": func(r *http.Request) bool { return r.Method == http.MethodPut },
		"broken":  func(*http.Request) bool { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newCloudWorld(t, nil)
			w.front.refuse = refuse
			job := w.run(w.request(w.object("rows.csv", csv(300, nil))))
			if job.State != modelmanager.JobSucceeded || w.output(job.ID) != doubled(1, 300) {
				t.Fatalf("%+v", job)
			}
			if w.puts.Load() == 0 {
				t.Error("nothing went through the server")
			}
		})
	}
}

func TestThroughServer(t *testing.T) {
	w := newCloudWorld(t, nil)
	w.config.ThroughServer = true
	w.start()
	job := w.run(w.request(w.object("rows.csv", csv(300, nil))))
	if job.State != modelmanager.JobSucceeded || w.output(job.ID) != doubled(1, 300) {
		t.Fatalf("%+v", job)
	}
	if w.front.count("") != 0 {
		t.Error("agents were at the store")
	}
}

// Parts of any size arrive: small ones from memory, larger ones from disk, and
// what the disk's share doesn't hold through the server.
func TestLargeParts(t *testing.T) {
	for name, c := range map[string]struct {
		disk   int64
		direct bool
	}{"disk": {1 << 30, true}, "server": {8 << 20, false}} {
		t.Run(name, func(t *testing.T) {
			w := newCloudWorld(t, func(s *spec.Spec) {
				s.Batch.RowsPerShard, s.Batch.RowsPerCall, s.Resources.Disk = 150_000, 10_000, c.disk
			})
			const rows = 200_000
			job := w.run(w.request(w.object("rows.csv", csv(rows, nil))))
			if job.State != modelmanager.JobSucceeded {
				t.Fatalf("%+v", job)
			}
			if w.output(job.ID) != doubled(1, rows) {
				t.Error("another output")
			}
			if direct := w.puts.Load() == 0; direct != c.direct {
				t.Errorf("%d PUTs through the server", w.puts.Load())
			}
		})
	}
}

func TestInputChangedOnS3(t *testing.T) {
	w := newCloudWorld(t, func(s *spec.Spec) { s.Batch.Parallelism = 1 })
	var once sync.Once
	w.platform.predictor = func() worker.Predictor {
		return &doubler{before: func(context.Context, recordBatch) error {
			once.Do(func() { w.object("rows.csv", csv(1000, map[int]string{500: "5"})) })
			return nil
		}}
	}
	job := w.run(w.request(w.object("rows.csv", csv(1000, nil))))
	if job.State != modelmanager.JobFailed || job.Code != modelmanager.CodeInputChanged {
		t.Errorf("%+v", job)
	}
}

func TestKilledOnS3(t *testing.T) {
	w := newCloudWorld(t, nil)
	w.platform.twice = true
	w.platform.kill = func(index, attempt int) <-chan struct{} {
		if attempt > 1 || index%2 == 1 {
			return nil
		}
		done := make(chan struct{})
		time.AfterFunc(time.Duration(index*20)*time.Millisecond, func() { close(done) })
		return done
	}
	job := w.run(w.request(w.object("rows.csv", csv(1000, nil))))
	if job.State != modelmanager.JobSucceeded || w.output(job.ID) != doubled(1, 1000) {
		t.Fatalf("%+v", job)
	}
	w.until(func() bool { return len(w.keys("active/")) == 0 })
	if parts := w.keys("jobs/" + job.ID + "/parts/"); len(parts) != 10 {
		t.Errorf("%d parts are left", len(parts))
	}
}

func parcelOf(data []byte) shard.Parcel {
	sha, sum := sha256.Sum256(data), md5.Sum(data)
	return shard.Parcel{What: "part", Size: int64(len(data)), SHA256: hex.EncodeToString(sha[:]), MD5: hex.EncodeToString(sum[:])}
}

// askStore asks for a URL as an attempt at shard 0 does, and returns the status.
func (c *cloudWorld) askStore(job string, body any, into *shard.Direct) int {
	c.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	path := shard.TaskPath(job, "shards", 0) + "/attempts/aaaaaaaaaa/store"
	request, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.server.URL+path, bytes.NewReader(data))
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+c.service.token(job, "shards"))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		if err := json.NewDecoder(response.Body).Decode(into); err != nil {
			c.t.Fatal(err)
		}
	}
	return response.StatusCode
}

// What is written with a URL of the store after the job's end is removed.
func TestLateWrite(t *testing.T) {
	w := newCloudWorld(t, nil)
	started, release := make(chan struct{}, 10), make(chan struct{})
	w.platform.predictor = func() worker.Predictor {
		return &doubler{before: func(ctx context.Context, _ recordBatch) error {
			started <- struct{}{}
			select {
			case <-release:
			case <-ctx.Done():
			}
			return ctx.Err()
		}}
	}
	job := w.submit(w.request(w.object("rows.csv", csv(100, nil))))
	<-started
	late := []byte("late")
	body := parcelOf(late)
	for _, bad := range []shard.Parcel{{What: "part"}, {What: "manifest", SHA256: body.SHA256, MD5: body.MD5},
		{What: "part", Size: -1, SHA256: body.SHA256, MD5: body.MD5}, {What: "logs", Size: 1 << 40, SHA256: body.SHA256, MD5: body.MD5}} {
		if status := w.askStore(job.ID, bad, new(shard.Direct)); status != http.StatusBadRequest && status != http.StatusRequestEntityTooLarge {
			t.Errorf("%+v: %d", bad, status)
		}
	}
	var to shard.Direct
	if status := w.askStore(job.ID, body, &to); status != http.StatusOK || to.URL == "" {
		t.Fatal(status, to)
	}
	if _, err := w.service.Cancel(t.Context(), job.ID, "me"); err != nil {
		t.Fatal(err)
	}
	close(release)
	w.wait(job.ID)
	w.until(func() bool { return len(w.keys("active/")) == 0 })
	if status := w.askStore(job.ID, body, &to); status != http.StatusConflict {
		t.Errorf("a URL was signed for a job that has ended: %d", status)
	}
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, to.URL, bytes.NewReader(late))
	for name, value := range to.Headers {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s %s", response.Status, answer)
	}
	parts := "jobs/" + job.ID + "/parts/"
	if len(w.keys(parts)) != 1 {
		t.Fatal("the late write isn't there")
	}
	service := w.service
	w.stop()
	if err := service.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(w.keys(parts)) != 1 || len(w.keys("tidy/")) != 1 {
		t.Error("it was tidied too early")
	}
	service.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	if err := service.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := slices.Concat(w.keys(parts), w.keys("tidy/")); len(left) != 0 {
		t.Errorf("%v are left", left)
	}
}
