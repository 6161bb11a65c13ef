package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"

	"modelmanager.dev"
	"modelmanager.dev/internal/image"
	"modelmanager.dev/internal/image/buildkit"
	"modelmanager.dev/internal/spec"
	daemons "modelmanager.dev/test/buildkit"
)

// withBuildKit starts BuildKit for a server's publishers, and pushes a base
// image for its steps, BASE, which has the programs in more.
func (s *imageServer) withBuildKit(t *testing.T, more map[string]string) {
	t.Helper()
	daemon := daemons.Start(t, daemons.Options{Plain: []string{s.host}})
	builder, err := buildkit.New(buildkit.Options{Address: daemon.Address, Keychain: authn.NewMultiKeychain()})
	if err != nil {
		t.Fatal(err)
	}
	s.images.Builder = builder
	daemons.Base(t, s.host+"/base/tools:1", more)
}

// writeDockerfileModel writes a model whose author builds its image.
func (s *imageServer) writeDockerfileModel(t *testing.T, dir, more string) {
	t.Helper()
	write(t, filepath.Join(dir, "model.yaml"), `name: scorer
summary: Scores.
owner: tests@example.org
features: [{name: x, type: number}]
predictions: [{name: y, type: number}]
run: {http: {path: /invocations}}
build: {dockerfile: Dockerfile}
examples: [{features: {x: 2}}]
`+more)
	write(t, filepath.Join(dir, "Dockerfile"), `FROM `+s.host+`/base/tools:1
USER root
COPY score.sh weights* /model/
RUN wc -c /model/* >/model/compiled
WORKDIR /model
ENTRYPOINT ["/bin/sh", "score.sh"]
CMD ["--port", "8080"]
`)
	write(t, filepath.Join(dir, "score.sh"), "exec serve\n")
}

func TestPublishADockerfile(t *testing.T) {
	s := newImageServer(t)
	s.withBuildKit(t, nil)
	dir := filepath.Join(t.TempDir(), "scorer")
	weights := strings.Repeat("w", 100_000)
	kept := filepath.Join(t.TempDir(), "weights")
	write(t, kept, weights)
	sum := sha256.Sum256([]byte(weights))
	s.writeDockerfileModel(t, dir, `files: [{path: weights.bin, uri: "file://`+kept+`", sha256: `+hex.EncodeToString(sum[:])+`}]`+"\n")
	first, err := s.publish(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(first.Artifact.Image, s.host+"/models/scorer@sha256:") {
		t.Errorf("the artifact is %+v", first.Artifact)
	}
	if diff := cmp.Diff([]string{"compiled", "score.sh", "weights.bin"}, content(t, first.Artifact.Image)); diff != "" {
		t.Errorf("the image's folder (-want +got):\n%s", diff)
	}
	var published struct {
		Run struct{ HTTP struct{ Command []string } }
	}
	if err := json.Unmarshal(first.Spec, &published); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/bin/sh", "score.sh", "--port", "8080"}, published.Run.HTTP.Command); diff != "" {
		t.Errorf("its command (-want +got):\n%s", diff)
	}
	if _, err := spec.Receive(first.Spec); err != nil {
		t.Errorf("a server refuses the spec: %v", err)
	}
	// The same again is the same version, and a commit changes nothing.
	commit(t, filepath.Dir(dir))
	if again, err := s.publish(t, dir); err != nil || again.Artifact != first.Artifact {
		t.Errorf("published again it is %+v, %v", again.Artifact, err)
	}
	// What isn't what the author meant doesn't get as far as a build.
	write(t, kept, strings.Repeat("v", 100_000))
	if _, err := s.publish(t, dir); err == nil || !strings.Contains(err.Error(), "weights.bin") {
		t.Errorf("with another file at its address: %v", err)
	}
	write(t, kept, weights)
	write(t, filepath.Join(dir, "Dockerfile"), "FROM "+s.host+"/base/tools:1\nRUN echo no compiler; exit 1\n")
	if _, err := s.publish(t, dir); modelmanager.CodeOf(err) != modelmanager.CodeInvalidSpec || !strings.Contains(err.Error(), "no compiler") || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("with a step that fails: %v", err)
	}
	if len(s.requests) != 1 {
		t.Errorf("%d versions were published", len(s.requests))
	}
}

// What apt and R do on a base of the tests: they leave a mark.
const (
	fakeApt = `#!/bin/sh
[ "$1" = update ] && exit 0
echo "apt-get $*"
mkdir -p /usr/share/installed
for name; do case $name in -*|install) ;; *) date >/usr/share/installed/$name ;; esac; done
`
	fakeR = `#!/bin/sh
[ -f /usr/share/installed/r-base-dev ] || exit 5
[ "$*" = "--vanilla /build/install.R /build /environment/library" ] || exit 7
[ "$(cat /build/packages)" = "mgcv 1.9" ] || [ "$(cat /build/packages)" = "mgcv 2.0" ] || exit 6
mkdir -p /environment/library/mgcv
date >/environment/library/mgcv/built
`
)

func TestABaseIsGivenWhatItLacks(t *testing.T) {
	s := newImageServer(t)
	fakes := t.TempDir()
	for name, text := range map[string]string{"apt-get": fakeApt, "Rscript": fakeR} {
		write(t, filepath.Join(fakes, name), text)
	}
	rm, err := filepath.EvalSymlinks("/bin/rm")
	if err != nil {
		t.Fatal(err)
	}
	s.withBuildKit(t, map[string]string{"/usr/bin/apt-get": filepath.Join(fakes, "apt-get"), "/usr/bin/Rscript": filepath.Join(fakes, "Rscript"), "/bin/rm": rm})
	s.images.Bases["r"] = s.host + "/base/tools:1"
	builds := &counting{ImageBuilder: s.images.Builder}
	s.images.Builder = builds

	modelInR := func(name, lock string) string {
		dir := filepath.Join(t.TempDir(), name)
		writeModel(t, dir, "build: {packages: [libxml2]}", "")
		yaml := must(os.ReadFile(filepath.Join(dir, "model.yaml")))
		text := strings.ReplaceAll(string(yaml), "python: predict.py:predict", "r: predict.R:predict")
		write(t, filepath.Join(dir, "model.yaml"), strings.ReplaceAll(text, "name: doubler", "name: "+name))
		write(t, filepath.Join(dir, "predict.R"), "predict <- function(rows) rows")
		write(t, filepath.Join(dir, "renv.lock"), lock)
		return dir
	}
	const lock = `{"R": {"Repositories": [{"Name": "CRAN", "URL": "https://cran.example.org"}]}, "Packages": {"mgcv": {"Version": "1.9"}}}`
	north := modelInR("north", lock)
	first, err := s.publish(t, north)
	if err != nil {
		t.Fatal(err)
	}
	names := files(t, first.Artifact.Image)
	for _, want := range []string{"model/predict.R", "environment/library/mgcv/built", "usr/share/installed/libxml2"} {
		if !slices.Contains(names, want) {
			t.Errorf("the image has no %s", want)
		}
	}
	if slices.Contains(names, "usr/share/installed/r-base-dev") {
		t.Error("the image has a compiler")
	}
	config := must(must(pulled(first.Artifact.Image)).ConfigFile()).Config
	if !slices.Contains(config.Env, "R_LIBS=/environment/library") || config.User != "65532:65532" || config.WorkingDir != "/model" {
		t.Errorf("it starts with %+v", config)
	}

	// Another model, another machine, an older lock written differently: the base
	// that is there is taken.
	s.images = &Images{Repository: s.images.Repository, Cache: t.TempDir(), Environments: s.images.Environments, Bases: s.images.Bases, Builder: builds}
	if _, err := s.publish(t, modelInR("south", strings.ReplaceAll(lock, ", ", ",\n"))); err != nil {
		t.Fatal(err)
	}
	if again, err := s.publish(t, north); err != nil || again.Artifact != first.Artifact {
		t.Errorf("published again it is %+v, %v", again.Artifact, err)
	}
	if builds.n != 1 {
		t.Errorf("%d bases were built", builds.n)
	}
	if _, err := s.publish(t, modelInR("west", strings.ReplaceAll(lock, "1.9", "2.0"))); err != nil || builds.n != 2 {
		t.Errorf("with another lock file: %d builds, %v", builds.n, err)
	}
}

// counting counts builds.
type counting struct {
	ImageBuilder
	n int
}

// Build implements ImageBuilder.
func (c *counting) Build(ctx context.Context, recipe image.Recipe) (string, error) {
	c.n++
	return c.ImageBuilder.Build(ctx, recipe)
}
