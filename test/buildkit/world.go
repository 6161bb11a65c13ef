package buildkit

import (
	"archive/tar"
	"bytes"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	memory "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Registry starts a registry in memory, on loopback without TLS, and returns its
// host. Calls pass through around, if that isn't nil.
func Registry(t testing.TB, around func(http.Handler) http.Handler) string {
	t.Helper()
	handler := wholeInstead(memory.New(memory.Logger(log.New(io.Discard, "", 0))))
	if around != nil {
		handler = around(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// wholeInstead gives the whole of what is asked for from some byte on, which the
// registry in memory refuses: a build that is cut off leaves a part of a layer,
// and the next one asks for the rest.
func wholeInstead(registry http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.Header.Get("Range"), "-") {
			r.Header.Del("Range")
		}
		registry.ServeHTTP(w, r)
	})
}

// tools are the programs of a base image of Base.
var tools = []string{"sh", "cat", "cp", "env", "id", "ls", "mkdir", "sleep", "touch", "wc", "date"}

// Base pushes a base image of this machine's own programs, as reference: nothing
// can be pulled in a test. It has a shell, a few programs, and what is in more:
// files here, by their path there.
func Base(t testing.TB, reference string, more map[string]string, options ...remote.Option) {
	t.Helper()
	content := map[string]string{}
	for _, tool := range tools {
		file, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		withLibraries(t, content, "/bin/"+tool, file)
	}
	for path, file := range more {
		withLibraries(t, content, path, file)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return pack(content) })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	config.Config = v1.Config{Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin"}, WorkingDir: "/", User: "65532"}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, options...); err != nil {
		t.Fatal(err)
	}
}

// withLibraries adds a program, and the libraries that it loads.
func withLibraries(t testing.TB, content map[string]string, path, file string) {
	t.Helper()
	file, err := filepath.EvalSymlinks(file)
	if err != nil {
		t.Fatal(err)
	}
	content[path] = file
	output, err := exec.Command("ldd", file).Output()
	if err != nil {
		return // a script, or a program without libraries
	}
	for field := range strings.FieldsSeq(string(output)) {
		if strings.HasPrefix(field, "/") {
			content[field] = field
		}
	}
}

func pack(content map[string]string) (io.ReadCloser, error) {
	var data bytes.Buffer
	out := tar.NewWriter(&data)
	if err := out.WriteHeader(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}); err != nil {
		return nil, err
	}
	const users = "root:x:0:0::/:/bin/sh\nmodel:x:65532:65532::/tmp:/bin/sh\n"
	if err := out.WriteHeader(&tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Size: int64(len(users)), Mode: 0o644}); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(out, users); err != nil {
		return nil, err
	}
	for _, path := range slices.Sorted(maps.Keys(content)) {
		text, err := os.ReadFile(content[path])
		if err != nil {
			return nil, err
		}
		if err := out.WriteHeader(&tar.Header{Name: strings.TrimPrefix(path, "/"), Typeflag: tar.TypeReg, Size: int64(len(text)), Mode: 0o755}); err != nil {
			return nil, err
		}
		if _, err := out.Write(text); err != nil {
			return nil, err
		}
	}
	if err := out.Close(); err != nil {
		return nil, err
	}
	return io.NopCloser(&data), nil
}
