package buildkit

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"modelmanager.dev"
	"modelmanager.dev/internal/image"
	"modelmanager.dev/test/buildkit"
)

// world is a registry with a base image, and a daemon.
type world struct {
	host   string
	daemon *buildkit.Daemon
	*Builder
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{host: buildkit.Registry(t, nil)}
	w.daemon = buildkit.Start(t, buildkit.Options{Plain: []string{w.host}})
	buildkit.Base(t, w.host+"/base:1", nil)
	w.Builder = builder(t, Options{Address: w.daemon.Address, Keychain: authn.NewMultiKeychain()})
	return w
}

func builder(t *testing.T, o Options) *Builder {
	t.Helper()
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// recipe is a folder to be built.
func (w *world) recipe(t *testing.T, files map[string]string) image.Recipe {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(strings.ReplaceAll(text, "BASE", w.host+"/base:1")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return image.Recipe{Name: "doubler", Dir: dir, Dockerfile: "Dockerfile", Repository: w.host + "/models/doubler", Plain: true}
}

func (w *world) build(t *testing.T, recipe image.Recipe) string {
	t.Helper()
	reference, err := w.Build(t.Context(), recipe)
	if err != nil {
		t.Fatal(err)
	}
	return reference
}

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

// entries lists the files of an image's layers above its base.
func entries(t *testing.T, img v1.Image) map[string]*tar.Header {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*tar.Header{}
	for _, layer := range layers[1:] {
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
			found[header.Name] = header
		}
		plain.Close()
	}
	return found
}

const dockerfile = `# What is compiled here is put together of two sources.
FROM BASE AS compiled
USER root
COPY src/ /src/
RUN cat /src/a /src/b >/program && ls -ln --time-style=+%s /src >/seen

FROM BASE
USER root
RUN mkdir -p /opt/empty
COPY --from=compiled /program /seen /opt/
COPY weights.bin /model/
WORKDIR /model
USER 65532
ENTRYPOINT ["/bin/sh", "/opt/program"]
CMD ["--fast"]
`

func TestTheSameFolderIsTheSameImage(t *testing.T) {
	w := newWorld(t)
	files := map[string]string{"Dockerfile": dockerfile, "src/a": "echo a\n", "src/b": "echo b\n", "weights.bin": strings.Repeat("w", 1<<20), "notes.txt": "n"}
	first := w.build(t, w.recipe(t, files))
	img := pull(t, first)
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/bin/sh", "/opt/program", "--fast"}, slices.Concat(config.Config.Entrypoint, config.Config.Cmd)); diff != "" {
		t.Errorf("its command (-want +got):\n%s", diff)
	}
	if config.Config.WorkingDir != "/model" || config.Created.Unix() != 0 || config.OS+"/"+config.Architecture != "linux/amd64" {
		t.Errorf("it starts in %s, was created %s, is for %s/%s", config.Config.WorkingDir, config.Created, config.OS, config.Architecture)
	}
	found := entries(t, img)
	for name, header := range found {
		if header.ModTime.Unix() != 0 {
			t.Errorf("%s is of %s", name, header.ModTime)
		}
	}
	for _, want := range []string{"opt/program", "opt/seen", "model/weights.bin"} {
		if found[want] == nil {
			t.Errorf("there is no %s in %v", want, found)
		}
	}
	if header := found["model/weights.bin"]; header != nil && (header.Mode != 0o644 || header.Uid != 0) {
		t.Errorf("weights.bin has mode %o and owner %d", header.Mode, header.Uid)
	}

	// Another folder, other times, owners and modes; nothing from the cache.
	again := w.recipe(t, files)
	old := time.Now().Add(-1000 * time.Hour)
	if err := os.Chtimes(filepath.Join(again.Dir, "src/a"), old, old); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(again.Dir, "src/b"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(again.Dir, "weights.bin"), 1234, 1234); err != nil {
		t.Fatal(err)
	}
	again.Afresh = true
	if second := w.build(t, again); second != first {
		t.Errorf("the same folder is %s, and, built afresh, %s", first, second)
	}
	// A daemon that has nothing.
	other := buildkit.Start(t, buildkit.Options{Plain: []string{w.host}})
	w.Builder = builder(t, Options{Address: other.Address, Keychain: authn.NewMultiKeychain()})
	if third := w.build(t, w.recipe(t, files)); third != first {
		t.Errorf("the same folder is %s, and, by another BuildKit, %s", first, third)
	}
}

func TestAChangeOfTheSameSizeIsSeen(t *testing.T) {
	w := newWorld(t)
	files := map[string]string{"Dockerfile": "FROM BASE\nCOPY predict /model/\n", "predict": "one"}
	first := w.build(t, w.recipe(t, files))
	files["predict"] = "two"
	second := w.build(t, w.recipe(t, files))
	if first == second {
		t.Error("another content of the same size is the same image")
	}
	files["predict"] = "one"
	if third := w.build(t, w.recipe(t, files)); third != first {
		t.Errorf("the first content again is %s, want %s", third, first)
	}
}

func TestWhatIsWrongWithADockerfile(t *testing.T) {
	w := newWorld(t)
	tests := map[string]struct {
		files map[string]string
		says  []string
	}{
		"a step fails": {
			map[string]string{"Dockerfile": "FROM BASE\nUSER root\nRUN echo compiling && \\\n    echo 'a.c:7: no such thing' >&2 && exit 3\n"},
			[]string{"Dockerfile, line 3", "RUN echo compiling", "status 3", "a.c:7: no such thing"},
		},
		"a step without a word": {map[string]string{"Dockerfile": "FROM BASE\nRUN exit 9\n"}, []string{"line 2", "status 9", "wrote nothing"}},
		"a word too many":       {map[string]string{"Dockerfile": "FROM BASE\n\nFETCH everything\n"}, []string{"Dockerfile, line 3", "FETCH"}},
		"no such file":          {map[string]string{"Dockerfile": "FROM BASE\nCOPY weights.bin /\n"}, []string{"Dockerfile, line 2", "weights.bin", ".mmignore"}},
		"no such base":          {map[string]string{"Dockerfile": "FROM " + w.host + "/nowhere:1\n"}, []string{"Dockerfile, line 1", "/nowhere:1", "BuildKit pulls"}},
		"no network": {
			map[string]string{"Dockerfile": "FROM BASE\nRUN echo 'Temporary failure resolving mirror.example.org' && exit 100\n"},
			[]string{"status 100", "mirror.example.org", "network that BuildKit's operator gives"},
		},
		"more rights":            {map[string]string{"Dockerfile": "FROM BASE\nRUN --network=host true\n"}, []string{"network.host"}},
		"in a folder of its own": {map[string]string{"Dockerfile": "FROM BASE\n", "docker/Dockerfile": "FROM BASE\nRUN exit 2\n"}, []string{"docker/Dockerfile, line 2"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			recipe := w.recipe(t, test.files)
			if test.files["docker/Dockerfile"] != "" {
				recipe.Dockerfile = "docker/Dockerfile"
			}
			_, err := w.Build(t.Context(), recipe)
			if modelmanager.CodeOf(err) != modelmanager.CodeInvalidSpec {
				t.Fatalf("%v, want %s", err, modelmanager.CodeInvalidSpec)
			}
			for _, part := range test.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q isn't in: %v", part, err)
				}
			}
		})
	}
}

// told collects what is told of a build, and calls back at a line.
type told struct {
	mu    sync.Mutex
	lines []string
	at    string
	then  func()
}

func (p *told) take(text string) {
	p.mu.Lock()
	p.lines = append(p.lines, text)
	p.mu.Unlock()
	if p.at != "" && strings.Contains(text, p.at) {
		p.then()
	}
}

func TestWhatIsTold(t *testing.T) {
	w := newWorld(t)
	recipe := w.recipe(t, map[string]string{"Dockerfile": "FROM BASE\nRUN echo one; echo two >&2; printf '10%%\\r20%%\\rdone'\n"})
	var progress told
	recipe.Progress = progress.take
	w.build(t, recipe)
	for _, want := range []string{"  one", "  two", "  done"} {
		if !slices.Contains(progress.lines, want) {
			t.Errorf("%q isn't in %q", want, progress.lines)
		}
	}
	if !slices.ContainsFunc(progress.lines, func(line string) bool { return strings.Contains(line, "RUN echo one") }) {
		t.Errorf("the step isn't in %q", progress.lines)
	}
	progress.lines = nil
	w.build(t, recipe)
	if slices.ContainsFunc(progress.lines, func(line string) bool { return strings.Contains(line, "RUN") }) {
		t.Errorf("a step that wasn't run is in %q", progress.lines)
	}
}

func TestCancellingEndsTheBuild(t *testing.T) {
	w := newWorld(t)
	const marker = "4242.4242"
	recipe := w.recipe(t, map[string]string{"Dockerfile": "FROM BASE\nRUN echo started; sleep " + marker + "\n"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	recipe.Progress = (&told{at: "  started", then: cancel}).take
	if _, err := w.Build(ctx, recipe); !errors.Is(err, context.Canceled) {
		t.Fatalf("it ended with %v", err)
	}
	deadline, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	for ticker := time.NewTicker(20 * time.Millisecond); ; {
		if !runs(t, marker) {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline.Done():
			t.Fatal("the step runs on")
		}
	}
}

// runs tells whether a process of this machine has a word among its arguments.
func runs(t *testing.T, word string) bool {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(processes, func(file string) bool {
		text, _ := os.ReadFile(file)
		return strings.Contains(string(text), "sleep\x00"+word)
	})
}

func TestADaemonThatDies(t *testing.T) {
	w := newWorld(t)
	recipe := w.recipe(t, map[string]string{"Dockerfile": "FROM BASE\nRUN echo started; sleep 4343.4343\n"})
	recipe.Progress = (&told{at: "  started", then: func() { go w.daemon.Kill() }}).take
	if _, err := w.Build(t.Context(), recipe); modelmanager.CodeOf(err) != modelmanager.CodeUnavailable {
		t.Errorf("killed while it built: %v", err)
	}
	if _, err := w.Build(t.Context(), recipe); modelmanager.CodeOf(err) != modelmanager.CodeUnavailable || !strings.Contains(err.Error(), "BUILDKIT_HOST") {
		t.Errorf("without a daemon: %v", err)
	}
}

// keychain has one registry's password.
type keychain struct{ host string }

// Resolve implements authn.Keychain.
func (k keychain) Resolve(resource authn.Resource) (authn.Authenticator, error) {
	if resource.RegistryStr() == k.host {
		return &authn.Basic{Username: "mia", Password: "secret"}, nil
	}
	return authn.Anonymous, nil
}

func TestARegistryThatAsksForAPassword(t *testing.T) {
	host := buildkit.Registry(t, func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); user != "mia" || password != "secret" {
				w.Header().Set("WWW-Authenticate", `Basic realm="models"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			inner.ServeHTTP(w, r)
		})
	})
	daemon := buildkit.Start(t, buildkit.Options{Plain: []string{host}})
	buildkit.Base(t, host+"/base:1", nil, remote.WithAuth(&authn.Basic{Username: "mia", Password: "secret"}))
	w := &world{host: host, daemon: daemon, Builder: builder(t, Options{Address: daemon.Address, Keychain: keychain{host}})}
	recipe := w.recipe(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	w.build(t, recipe)
	w.Builder = builder(t, Options{Address: daemon.Address, Keychain: keychain{"elsewhere.example.org"}})
	if _, err := w.Build(t.Context(), recipe); modelmanager.CodeOf(err) != modelmanager.CodeForbidden {
		t.Errorf("without a password: %v", err)
	}
}

func TestAddresses(t *testing.T) {
	for address, good := range map[string]bool{
		"unix:///run/buildkit/buildkitd.sock": true, "tcp://127.0.0.1:1234": true, "tcp://localhost:1234": true, "tcp://[::1]:1234": true,
		"": false, "/run/buildkit/buildkitd.sock": false, "tcp://127.0.0.1": false, "docker-container://buildkit": false, "unix://buildkitd.sock": false,
		"tcp://buildkit.example.org:1234": false, // without TLS
	} {
		if _, err := New(Options{Address: address}); (err == nil) != good || err != nil && modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certificates(t, dir)
	host := buildkit.Registry(t, nil)
	daemon := buildkit.Start(t, buildkit.Options{Plain: []string{host}, TLS: dir})
	w := &world{host: host, daemon: daemon, Builder: builder(t, Options{Address: daemon.Address, TLS: dir, Keychain: authn.NewMultiKeychain()})}
	recipe := w.recipe(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	w.build(t, recipe)
	stranger := t.TempDir()
	certificates(t, stranger)
	for name, o := range map[string]Options{
		"plain":              {Address: daemon.Address},
		"another authority":  {Address: daemon.Address, TLS: stranger},
		"without a key pair": {Address: daemon.Address, TLS: without(t, dir, "cert.pem")},
	} {
		o.Keychain = authn.NewMultiKeychain()
		if _, err := builder(t, o).Build(t.Context(), recipe); modelmanager.CodeOf(err) != modelmanager.CodeUnavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(Options{Address: daemon.Address, TLS: t.TempDir()}); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
		t.Errorf("without an authority: %v", err)
	}
}

// without is a copy of a folder but for one file.
func without(t *testing.T, dir, name string) string {
	t.Helper()
	other := t.TempDir()
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(other, name)); err != nil {
		t.Fatal(err)
	}
	return other
}
