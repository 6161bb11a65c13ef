package image

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	memory "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// world is a registry in memory, and what went to it.
type world struct {
	host string

	mu     sync.Mutex
	sent   int64 // bytes of blobs
	before func(http.ResponseWriter, *http.Request) (handled bool)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{}
	handler := memory.New(memory.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, request *http.Request) {
		w.mu.Lock()
		before := w.before
		w.mu.Unlock()
		if before != nil && before(out, request) {
			return
		}
		if request.Method == http.MethodPatch || request.Method == http.MethodPut && strings.Contains(request.URL.Path, "/blobs/") {
			request.Body = &counted{request.Body, w}
		}
		handler.ServeHTTP(out, request)
	}))
	t.Cleanup(server.Close)
	w.host = strings.TrimPrefix(server.URL, "http://")
	return w
}

type counted struct {
	io.ReadCloser
	world *world
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.world.mu.Lock()
	c.world.sent += int64(n)
	c.world.mu.Unlock()
	return n, err
}

// pushed runs f and returns how many bytes of blobs were sent meanwhile.
func (w *world) pushed(f func()) int64 {
	w.mu.Lock()
	w.sent = 0
	w.mu.Unlock()
	f()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent
}

func (w *world) intercept(before func(http.ResponseWriter, *http.Request) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before = before
}

// client speaks to registries as publishers do, but waits less between tries.
func client() *Registry {
	r := NewRegistry(Options{Keychain: authn.NewMultiKeychain()})
	r.backoff = remote.Backoff{Duration: time.Millisecond, Factor: 2, Steps: 4}
	return r
}

// entry is one entry of a base image's layer.
type entry struct {
	name, content, link string
}

// base pushes an image of layers, and returns its name by tag.
func (w *world) base(t *testing.T, repository string, layers ...[]entry) string {
	t.Helper()
	img := v1.Image(empty.Image)
	for _, entries := range layers {
		var data bytes.Buffer
		out := tar.NewWriter(&data)
		for _, e := range entries {
			header := &tar.Header{Name: e.name, Typeflag: tar.TypeReg, Size: int64(len(e.content)), Mode: 0o755}
			if e.link != "" {
				header.Typeflag, header.Linkname = tar.TypeSymlink, e.link
			}
			if err := out.WriteHeader(header); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(out, e.content); err != nil {
				t.Fatal(err)
			}
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		img = w.append(t, img, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data.Bytes())), nil })
	}
	return w.push(t, img, repository)
}

func (w *world) append(t *testing.T, img v1.Image, open tarball.Opener) v1.Image {
	t.Helper()
	layer, err := tarball.LayerFromOpener(open)
	if err != nil {
		t.Fatal(err)
	}
	if img, err = mutate.AppendLayers(img, layer); err != nil {
		t.Fatal(err)
	}
	return img
}

func (w *world) push(t *testing.T, img v1.Image, repository string) string {
	t.Helper()
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", "amd64"
	file.Config.Env = []string{"PATH=/usr/local/bin:/usr/bin", "LANG=C.UTF-8"}
	file.Config.Entrypoint, file.Config.Cmd, file.Config.WorkingDir = []string{"/serve"}, []string{"--port", "8080"}, "/srv"
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(w.host + "/" + repository + ":12")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img); err != nil {
		t.Fatal(err)
	}
	return tag.Name()
}

// folder writes a model's folder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// assembleFolder makes a model's image of a folder.
func assembleFolder(t *testing.T, base *Base, dir string) *Image {
	t.Helper()
	layers, err := FolderLayers(dir)
	if err != nil {
		t.Fatal(err)
	}
	img, err := Assemble(base, layers, ModelConfig("iris", false))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func findBase(t *testing.T, r *Registry, reference string) *Base {
	t.Helper()
	base, err := r.Base(t.Context(), reference, "")
	if err != nil {
		t.Fatal(err)
	}
	return base
}

// files reads all files of an image, upper layers over lower ones.
func files(t *testing.T, img v1.Image) map[string]*tar.Header {
	t.Helper()
	found := map[string]*tar.Header{}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, layer := range layers {
		plain, err := layer.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		in := tar.NewReader(plain)
		for {
			header, err := in.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			found[strings.TrimSuffix(header.Name, "/")] = header
		}
		plain.Close()
	}
	return found
}

// pull reads an image from the registry.
func pull(t *testing.T, reference string) v1.Image {
	t.Helper()
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func sorted[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func push(t *testing.T, ctx context.Context, r *Registry, img *Image, repository string) string {
	t.Helper()
	reference, err := r.Push(ctx, img, repository, nil)
	if err != nil {
		t.Fatal(err)
	}
	return reference
}

func pullIndex(t *testing.T, ref name.Reference) *v1.IndexManifest {
	t.Helper()
	index, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	return manifest
}

// whole reads all of an image and compares every digest.
func whole(t *testing.T, img v1.Image) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, layer := range layers {
		wantDigest, err := layer.Digest()
		if err != nil {
			t.Fatal(err)
		}
		wantPlain, err := layer.DiffID()
		if err != nil {
			t.Fatal(err)
		}
		compressed, err := layer.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		digest, _, err := v1.SHA256(compressed)
		if err != nil || digest != wantDigest {
			t.Errorf("a layer's digest is %s, want %s (%v)", digest, wantDigest, err)
		}
		uncompressed, err := layer.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		plain, _, err := v1.SHA256(uncompressed)
		if err != nil || plain != wantPlain {
			t.Errorf("a layer's uncompressed digest is %s, want %s (%v)", plain, wantPlain, err)
		}
		compressed.Close()
		uncompressed.Close()
	}
}
