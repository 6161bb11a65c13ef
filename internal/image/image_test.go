package image

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"modelmanager.dev"
)

var minimal = []entry{{name: "bin/sh", content: "shell"}, {name: "etc/passwd", content: "root"}}

func TestTheSameFolderIsTheSameImageEverywhere(t *testing.T) {
	content := map[string]string{"predict.py": "def predict(rows): ...", "lib/a.py": "a = 1", "weights.bin": strings.Repeat("w", 3<<20)}
	here, there := newWorld(t), newWorld(t)
	one, other := folder(t, content), folder(t, content)
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(other, "predict.py"), old, old); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(other, "lib/a.py"), 0o640); err != nil {
		t.Fatal(err)
	}
	r := client()
	a := assembleFolder(t, findBase(t, r, here.base(t, "base/python", minimal)), one)
	b := assembleFolder(t, findBase(t, r, there.base(t, "mirror/py", minimal)), other)
	if a.Digest != b.Digest {
		t.Errorf("the same folder on the same base is %s and %s", a.Digest, b.Digest)
	}
	if err := os.WriteFile(filepath.Join(other, "predict.py"), []byte("def predict(rows): pass"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := assembleFolder(t, findBase(t, r, there.host+"/mirror/py:12"), other); c.Digest == a.Digest {
		t.Error("another content is the same image")
	}
}

func TestWhatIsInAnImage(t *testing.T) {
	w, r := newWorld(t), client()
	dir := folder(t, map[string]string{"predict.py": "p", "sub/deep/weights.bin": strings.Repeat("w", 2<<20)})
	if err := os.Symlink("deep/weights.bin", filepath.Join(dir, "sub/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "predict.py"), 0o700); err != nil {
		t.Fatal(err)
	}
	base := findBase(t, r, w.base(t, "base/python", minimal))
	reference := push(t, t.Context(), r, assembleFolder(t, base, dir), w.host+"/models/iris")
	img := pull(t, reference)
	whole(t, img)
	got := map[string]string{}
	for name, header := range files(t, img) {
		if strings.HasPrefix(name, "model") {
			got[name] = fmt.Sprintf("%c %o %d:%d %d %s", header.Typeflag, header.Mode, header.Uid, header.Gid, header.ModTime.Unix(), header.Linkname)
		}
	}
	want := map[string]string{
		"model": "5 755 0:0 0 ", "model/predict.py": "0 755 0:0 0 ", "model/sub": "5 755 0:0 0 ", "model/sub/deep": "5 755 0:0 0 ",
		"model/sub/deep/weights.bin": "0 644 0:0 0 ", "model/sub/link": "2 777 0:0 0 deep/weights.bin",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if manifest.MediaType != types.OCIManifestSchema1 || manifest.Config.MediaType != types.OCIConfigJSON || manifest.Layers[0].MediaType != types.OCILayer {
		t.Errorf("media types: %s, %s, %s", manifest.MediaType, manifest.Config.MediaType, manifest.Layers[0].MediaType)
	}
	if manifest.Annotations[title] != "iris" || manifest.Annotations["org.opencontainers.image.base.digest"] != base.Digest {
		t.Errorf("annotations: %v", manifest.Annotations)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c := config.Config; c.User != User || c.WorkingDir != "/model" || len(c.Entrypoint)+len(c.Cmd) > 0 || c.Env[0] != "PATH=/usr/local/bin:/usr/bin" {
		t.Errorf("config: %+v", c)
	}
	if config.Created.Unix() != 0 {
		t.Errorf("created %v", config.Created)
	}
}

func TestTheEnvironmentIsOnThePaths(t *testing.T) {
	got := environ([]string{"PATH=/opt/bin:/bin", "PYTHONPATH=/old", "LANG=C"}, ModelConfig("iris", true).Env)
	want := []string{"PATH=/environment/bin:/opt/bin:/bin", "PYTHONPATH=/environment", "LANG=C"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAChangeOfCodePushesLittle(t *testing.T) {
	w, r := newWorld(t), client()
	weights := make([]byte, 4<<20)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(weights)
	dir := folder(t, map[string]string{"predict.py": "one", "weights.bin": string(weights)})
	base := findBase(t, r, w.base(t, "base/python", minimal))
	repository := w.host + "/models/iris"
	if sent := w.pushed(func() { push(t, t.Context(), r, assembleFolder(t, base, dir), repository) }); sent < 4<<20 {
		t.Errorf("the first push sent %d bytes", sent)
	}
	if sent := w.pushed(func() { push(t, t.Context(), r, assembleFolder(t, base, dir), repository) }); sent != 0 {
		t.Errorf("pushing the same again sent %d bytes", sent)
	}
	if err := os.WriteFile(filepath.Join(dir, "predict.py"), []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	if sent := w.pushed(func() { push(t, t.Context(), r, assembleFolder(t, base, dir), repository) }); sent > 4<<10 {
		t.Errorf("a change of code sent %d bytes", sent)
	}
}

func TestARegistryThatBreaksOffIsTriedAgain(t *testing.T) {
	w, r := newWorld(t), client()
	dir := folder(t, map[string]string{"predict.py": "p", "weights.bin": strings.Repeat("0123456789", 300_000)})
	base := findBase(t, r, w.base(t, "base/python", minimal))
	img := assembleFolder(t, base, dir)
	var left atomic.Int32
	left.Store(3)
	w.intercept(func(out http.ResponseWriter, request *http.Request) bool {
		if request.Method == http.MethodPatch && left.Add(-1) >= 0 {
			_, _ = io.CopyN(io.Discard, request.Body, 10)
			panic(http.ErrAbortHandler)
		}
		return false
	})
	reference := push(t, t.Context(), r, img, w.host+"/models/iris")
	if left.Load() >= 0 {
		t.Error("nothing was broken off")
	}
	whole(t, pull(t, reference))
}

func TestARegistryThatFailsForGoodHasNothingHalfDone(t *testing.T) {
	w, r := newWorld(t), client()
	dir := folder(t, map[string]string{"predict.py": "p", "weights.bin": strings.Repeat("0123456789", 300_000)})
	base := findBase(t, r, w.base(t, "base/python", minimal))
	img := assembleFolder(t, base, dir)
	var patches atomic.Int32
	w.intercept(func(out http.ResponseWriter, request *http.Request) bool {
		if request.Method == http.MethodPatch && patches.Add(1) > 1 {
			out.WriteHeader(http.StatusInternalServerError)
			return true
		}
		return false
	})
	repository := w.host + "/models/iris"
	_, err := r.Push(t.Context(), img, repository, nil)
	if modelmanager.CodeOf(err) != modelmanager.CodeUnavailable {
		t.Errorf("%v, want code unavailable", err)
	}
	w.intercept(nil)
	if _, err := r.Inspect(t.Context(), repository+"@"+img.Digest); modelmanager.CodeOf(err) != modelmanager.CodeNotFound {
		t.Errorf("the image is there, or: %v", err)
	}
	push(t, t.Context(), r, img, repository)
}

func TestATagNeverChanges(t *testing.T) {
	w, r := newWorld(t), client()
	base := findBase(t, r, w.base(t, "base/python", minimal))
	repository := w.host + "/models/iris"
	one := push(t, t.Context(), r, assembleFolder(t, base, folder(t, map[string]string{"a": "1"})), repository)
	two := push(t, t.Context(), r, assembleFolder(t, base, folder(t, map[string]string{"a": "2"})), repository)
	first := Provenance{Model: "iris", Version: 7, Digest: "sha256:7",
		Source: modelmanager.Source{Repository: "https://git.example.org/m", Commit: "abc", Path: "models/iris"}, Created: "2026-01-02T03:04:05Z"}
	if err := r.Tag(t.Context(), one, first); err != nil {
		t.Fatal(err)
	}
	again := first
	again.Source.Commit = "def"
	if err := r.Tag(t.Context(), one, again); err != nil {
		t.Errorf("the same image from another commit: %v", err)
	}
	if err := r.Tag(t.Context(), two, first); modelmanager.CodeOf(err) != modelmanager.CodeConflict {
		t.Errorf("another image under the same tag: %v", err)
	}
	img := pull(t, repository+":7")
	if digest, err := img.Digest(); err != nil || !strings.HasSuffix(one, digest.String()) {
		t.Errorf("the tag leads to %s, %v", digest, err)
	}
	ref, err := r.parse(repository + ":7")
	if err != nil {
		t.Fatal(err)
	}
	index := pullIndex(t, ref)
	want := map[string]string{
		title: "iris", "org.opencontainers.image.version": "7", "org.opencontainers.image.created": "2026-01-02T03:04:05Z",
		"org.opencontainers.image.source": "https://git.example.org/m", "org.opencontainers.image.revision": "abc",
		annotationPath: "models/iris", annotationDigest: "sha256:7",
	}
	if diff := cmp.Diff(want, index.Annotations); diff != "" {
		t.Error(diff)
	}
}

func TestTagged(t *testing.T) {
	w, r := newWorld(t), client()
	repository := w.host + "/models/iris"
	if tagged, err := r.Tagged(t.Context(), repository); err != nil || len(tagged) > 0 {
		t.Errorf("without a repository: %v, %v", tagged, err)
	}
	base := findBase(t, r, w.base(t, "base/python", minimal))
	var want []Tagged
	for _, number := range []int{2, 11} {
		reference := push(t, t.Context(), r, assembleFolder(t, base, folder(t, map[string]string{"a": strconv.Itoa(number)})), repository)
		p := Provenance{Model: "iris", Version: number, Digest: "sha256:v", Created: "2026-01-02T03:04:05Z",
			Source: modelmanager.Source{Repository: "https://git.example.org/m", Commit: "abc", Path: "models/iris"}}
		if err := r.Tag(t.Context(), reference, p); err != nil {
			t.Fatal(err)
		}
		_, digest, _ := strings.Cut(reference, "@")
		want = append(want, Tagged{Provenance: p, Reference: reference, ImageDigest: digest})
	}
	if _, err := r.PushAs(t.Context(), assembleFolder(t, base, folder(t, map[string]string{"a": "latest"})), repository+":latest"); err != nil {
		t.Fatal(err)
	}
	tagged, err := r.Tagged(t.Context(), repository)
	if diff := cmp.Diff(want, tagged); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	// Somebody's own tag keeps no version from being found.
	if _, err := r.PushAs(t.Context(), assembleFolder(t, base, folder(t, map[string]string{"a": "own"})), repository+":3"); err != nil {
		t.Fatal(err)
	}
	tagged, err = r.Tagged(t.Context(), repository)
	if modelmanager.CodeOf(err) != modelmanager.CodeConflict || !strings.Contains(err.Error(), "iris:3") || len(tagged) != 2 {
		t.Errorf("with somebody's tag: %v, %v", tagged, err)
	}
}

func TestManyPublishAtOnce(t *testing.T) {
	w, r := newWorld(t), client()
	reference := w.base(t, "base/python", minimal)
	dir := folder(t, map[string]string{"a": "1", "b": strings.Repeat("b", 2<<20)})
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			base, err := r.Base(t.Context(), reference, "")
			if err != nil {
				t.Error(err)
				return
			}
			layers, err := FolderLayers(dir)
			if err != nil {
				t.Error(err)
				return
			}
			img, err := Assemble(base, layers, ModelConfig("iris", false))
			if err != nil {
				t.Error(err)
				return
			}
			pushed, err := r.Push(t.Context(), img, w.host+"/models/iris", nil)
			if err == nil {
				err = r.Tag(t.Context(), pushed, Provenance{Model: "iris", Version: 1})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	whole(t, pull(t, w.host+"/models/iris:1"))
}

func TestLinksOutOfAFolder(t *testing.T) {
	for name, target := range map[string]string{"absolute": "/etc/passwd", "up": "../../secret", "deep": "sub/../../secret"} {
		dir := folder(t, map[string]string{"a": "1"})
		if err := os.Symlink(target, filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
		if _, err := FolderLayers(dir); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
			t.Errorf("%s: %v, want code bad_request", name, err)
		}
	}
}

func TestAHugeFolderNeedsLittleMemory(t *testing.T) {
	w, r := newWorld(t), client()
	base := findBase(t, r, w.base(t, "base/python", minimal))
	dir := folder(t, map[string]string{"predict.py": "p"})
	const size = 256 << 20
	if err := os.WriteFile(filepath.Join(dir, "huge"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "huge"), size); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	push(t, t.Context(), r, assembleFolder(t, base, dir), w.host+"/models/huge")
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
		t.Errorf("a file of %d MiB took %d MiB of memory", size>>20, used>>20)
	}
}

func TestPlainHTTPIsForLoopback(t *testing.T) {
	w := newWorld(t)
	w.base(t, "base/python", minimal)
	_, port, _ := strings.Cut(w.host, ":")
	calls := 0
	carrier := roundTripper(func(request *http.Request) (*http.Response, error) {
		calls++
		if request.URL.Scheme == "https" {
			return nil, io.ErrUnexpectedEOF
		}
		request.URL.Host = w.host
		return http.DefaultTransport.RoundTrip(request)
	})
	r := NewRegistry(Options{Transport: carrier})
	r.backoff = client().backoff
	reference := "10.1.2.3:" + port + "/base/python:12"
	if _, err := r.Base(t.Context(), reference, ""); modelmanager.CodeOf(err) != modelmanager.CodeUnavailable {
		t.Errorf("plain HTTP to another machine: %v", err)
	}
	r = NewRegistry(Options{Transport: carrier, Insecure: []string{"10.1.2.3:" + port}})
	r.backoff = client().backoff
	if _, err := r.Base(t.Context(), reference, ""); err != nil {
		t.Errorf("plain HTTP, allowed: %v", err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

func TestAllowed(t *testing.T) {
	r := client()
	digest := "@sha256:" + strings.Repeat("a", 64)
	tests := map[string]bool{
		"registry.example.org/models/iris" + digest:     true,
		"registry.example.org/models/a/b" + digest:      true,
		"registry.example.org/models2/iris" + digest:    false,
		"registry.example.org/iris" + digest:            false,
		"registry.example.org:443/models/iris" + digest: false,
		"evil.example.org/models/iris" + digest:         false,
	}
	for reference, want := range tests {
		if got, err := r.Allowed(reference, []string{"other.example.org", "registry.example.org/models/"}); err != nil || got != want {
			t.Errorf("%s: %v, %v", reference, got, err)
		}
	}
	if _, err := r.Allowed("registry.example.org/models/../secret"+digest, []string{"registry.example.org/models"}); err == nil {
		t.Error("a name with .. was taken")
	}
}

func TestInspect(t *testing.T) {
	w, r := newWorld(t), client()
	base := findBase(t, r, w.base(t, "own/scorer", minimal))
	got, err := r.Inspect(t.Context(), base.Reference)
	if err != nil {
		t.Fatal(err)
	}
	if got.Size == 0 {
		t.Error("it has no size")
	}
	got.Size = 0
	want := Facts{Reference: base.Reference, Digest: base.Digest, Platform: "linux/amd64", Dir: "/srv", Command: []string{"/serve", "--port", "8080"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := r.Inspect(t.Context(), w.host+"/own/scorer:12"); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
		t.Errorf("by tag: %v", err)
	}
	if _, err := r.Inspect(t.Context(), w.host+"/own/scorer@sha256:"+strings.Repeat("0", 64)); modelmanager.CodeOf(err) != modelmanager.CodeNotFound {
		t.Errorf("one that isn't there: %v", err)
	}
	copied, err := r.Copy(t.Context(), base, w.host+"/models/scorer", nil)
	if err != nil || copied != w.host+"/models/scorer@"+base.Digest {
		t.Errorf("copied to %s, %v", copied, err)
	}
}

func TestABaseForAnotherPlatform(t *testing.T) {
	w, r := newWorld(t), client()
	reference := w.base(t, "base/python", minimal)
	if _, err := r.Base(t.Context(), reference, "linux/arm64"); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
		t.Errorf("%v", err)
	}
	empty, err := r.Base(t.Context(), Scratch, "linux/arm64")
	if err != nil {
		t.Fatal(err)
	}
	img := assembleFolder(t, empty, folder(t, map[string]string{"iris": "program"}))
	got, err := r.Inspect(t.Context(), push(t, t.Context(), r, img, w.host+"/models/iris"))
	if err != nil || got.Platform != "linux/arm64" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestProgress(t *testing.T) {
	w, r := newWorld(t), client()
	base := findBase(t, r, w.base(t, "base/python", minimal))
	img := assembleFolder(t, base, folder(t, map[string]string{"a": strings.Repeat("b", 2<<20)}))
	var done, total int64
	if _, err := r.Push(t.Context(), img, w.host+"/models/iris", func(d, n int64) { done, total = d, n }); err != nil {
		t.Fatal(err)
	}
	if total == 0 || done != total {
		t.Errorf("%d of %d bytes in the end", done, total)
	}
}
