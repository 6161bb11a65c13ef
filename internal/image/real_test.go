package image

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"modelmanager.dev"
	"modelmanager.dev/test/needs"
)

// realRegistry starts CNCF Distribution, as the test cluster has it.
func realRegistry(t *testing.T) (host, program, config string) {
	t.Helper()
	dir := os.Getenv("MM_CLUSTER_BIN")
	asked := dir != ""
	if !asked {
		cache, err := os.UserCacheDir()
		if err != nil {
			needs.Skip(t, err)
		}
		dir = filepath.Join(cache, "model-manager", "cluster", "bin")
	}
	program = filepath.Join(dir, "registry")
	if _, err := os.Stat(program); err != nil && asked {
		t.Fatal(err)
	} else if err != nil {
		needs.Skip(t, fmt.Sprintf("there is no %s; make cluster builds it", program))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host = listener.Addr().String()
	listener.Close()
	config = filepath.Join(t.TempDir(), "registry.yaml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: %q}\n", t.TempDir(), host)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, "serve", config)
	command.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for ticker := time.NewTicker(20 * time.Millisecond); ; {
		if answer, err := http.Get("http://" + host + "/v2/"); err == nil {
			answer.Body.Close()
			return host, program, config
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatal("the registry doesn't answer")
		}
	}
}

// sending counts the bytes of the blobs that are sent.
type sending struct{ n atomic.Int64 }

func (s *sending) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method == http.MethodPatch && request.Body != nil {
		request.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(request.Body, s), request.Body}
	}
	return http.DefaultTransport.RoundTrip(request)
}

func (s *sending) Write(p []byte) (int, error) {
	s.n.Add(int64(len(p)))
	return len(p), nil
}

func TestARealRegistry(t *testing.T) {
	host, program, config := realRegistry(t)
	sent := &sending{}
	r := NewRegistry(Options{Keychain: authn.NewMultiKeychain(), Transport: sent})
	base := findBase(t, r, hostPython(t, &world{host: host}))
	python := Python{Inputs: []string{"tool==1.0"}, Download: func(_ context.Context, dir, _ string, _ []string) error {
		wheel(t, dir, "tool-1.0-py3-none-any.whl", toolWheel)
		return nil
	}}
	at := Place{Cache: &Cache{Dir: t.TempDir()}, Prefix: host + "/models"}
	packages, err := r.Environment(t.Context(), base, python, at)
	if err != nil {
		t.Fatal(err)
	}
	var references []string
	for i, model := range []string{"north", "south"} {
		layers, err := FolderLayers(folder(t, map[string]string{"predict.py": "p", "params": model}))
		if err != nil {
			t.Fatal(err)
		}
		img, err := Assemble(base, append([]Layer{packages}, layers...), ModelConfig(model, true))
		if err != nil {
			t.Fatal(err)
		}
		sent.n.Store(0)
		reference := push(t, t.Context(), r, img, host+"/models/"+model)
		// Base and packages are taken over from their own repositories.
		if n := sent.n.Load(); n == 0 || n > 8<<10 {
			t.Errorf("model %d sent %d bytes", i, n)
		}
		if err := r.Tag(t.Context(), reference, Provenance{Model: model, Version: 3}); err != nil {
			t.Fatal(err)
		}
		if err := r.Tag(t.Context(), reference, Provenance{Model: model, Version: 3}); err != nil {
			t.Error(err)
		}
		references = append(references, reference)
	}
	untagged := push(t, t.Context(), r, assembleFolder(t, base, folder(t, map[string]string{"a": "1"})), host+"/models/north")
	if err := r.Tag(t.Context(), untagged, Provenance{Model: "north", Version: 3}); modelmanager.CodeOf(err) != modelmanager.CodeConflict {
		t.Errorf("another image under the same tag: %v", err)
	}
	// What a version's tag leads to stays, also where untagged images are collected.
	if output, err := exec.Command(program, "garbage-collect", "--delete-untagged", config).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	for _, reference := range references {
		if _, err := r.Inspect(t.Context(), reference); err != nil {
			t.Errorf("after a collection: %v", err)
		}
		whole(t, pull(t, reference))
	}
	if _, err := r.Inspect(t.Context(), untagged); modelmanager.CodeOf(err) != modelmanager.CodeNotFound {
		t.Errorf("an image that no tag leads to, after a collection: %v", err)
	}
	tag, err := name.NewTag(host + "/models/north:3")
	if err != nil {
		t.Fatal(err)
	}
	if head, err := remote.Head(tag); err != nil || !head.MediaType.IsIndex() || !strings.HasPrefix(references[0], host+"/models/north@") {
		t.Errorf("the tag: %+v, %v", head, err)
	}
}
