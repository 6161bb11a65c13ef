package pipeline

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	memory "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"modelmanager.dev"
	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/spec"
)

// imageServer is a server that runs images, as far as publishers see it.
type imageServer struct {
	host     string
	images   *Images
	requests []modelmanager.PublishRequest
}

func newImageServer(t *testing.T) *imageServer {
	t.Helper()
	registry := httptest.NewServer(memory.New(memory.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(registry.Close)
	s := &imageServer{host: strings.TrimPrefix(registry.URL, "http://")}
	s.images = &Images{
		Repository: s.host + "/models", Cache: t.TempDir(), Environments: &environment.Manager{Dir: t.TempDir()}, Bases: map[string]string{},
	}
	return s
}

// Upload implements Target.
func (s *imageServer) Upload(context.Context, string, io.Reader) (modelmanager.Upload, error) {
	return modelmanager.Upload{}, modelmanager.Errorf(modelmanager.CodeBadRequest, "this server runs images")
}

// Publish implements Target: each content is a version.
func (s *imageServer) Publish(_ context.Context, model string, request modelmanager.PublishRequest, _ string) (modelmanager.PublishResult, error) {
	at := slices.IndexFunc(s.requests, func(r modelmanager.PublishRequest) bool { return r.Artifact == request.Artifact })
	if at < 0 {
		at = len(s.requests)
		s.requests = append(s.requests, request)
	}
	_, digest, _ := strings.Cut(request.Artifact.Image, "@")
	return modelmanager.PublishResult{VersionInfo: modelmanager.VersionInfo{
		Model: model, Version: at + 1, Digest: registry.Digest(string(request.Spec), digest),
	}}, nil
}

// base pushes a base image with files in it, and names it for a language.
func (s *imageServer) base(t *testing.T, language string, content map[string]string) string {
	t.Helper()
	var data bytes.Buffer
	out := tar.NewWriter(&data)
	for name, text := range content {
		if err := out.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(text)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(out, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		OS: "linux", Architecture: "amd64", Config: v1.Config{Entrypoint: []string{"/score"}, Cmd: []string{"--fast"}}, RootFS: must(img.ConfigFile()).RootFS,
	})
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(s.host + "/base/" + language + ":12")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img); err != nil {
		t.Fatal(err)
	}
	s.images.Bases[language] = tag.Name()
	return s.host + "/base/" + language + "@" + must(img.Digest()).String()
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// publish does what mm publish does, but for validation.
func (s *imageServer) publish(t *testing.T, dir string) (modelmanager.PublishRequest, error) {
	t.Helper()
	folder, err := spec.LoadFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	options := Options{Scratch: t.TempDir(), Images: true, Files: &Files{Prefixes: []string{"file:///"}}}
	prepared, err := Prepare(t.Context(), folder, options)
	if err != nil {
		return modelmanager.PublishRequest{}, err
	}
	defer prepared.Close()
	source := SourceOf(t.Context(), dir)
	result, err := Publish(t.Context(), prepared, s, Publication{Source: source, Committed: CommitTime(t.Context(), dir, source), Images: s.images, Options: options})
	if err != nil {
		return modelmanager.PublishRequest{}, err
	}
	return s.requests[result.Version-1], nil
}

func pulled(reference string) (v1.Image, error) {
	return remote.Image(must(name.ParseReference(reference)))
}

// content lists what an image has under /model.
func content(t *testing.T, reference string) []string {
	t.Helper()
	var names []string
	for _, file := range files(t, reference) {
		if name, ok := strings.CutPrefix(file, "model/"); ok {
			names = append(names, name)
		}
	}
	return names
}

// files lists the files of an image.
func files(t *testing.T, reference string) []string {
	t.Helper()
	img, err := pulled(reference)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, layer := range must(img.Layers()) {
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
			if header.Typeflag == tar.TypeReg {
				names = append(names, header.Name)
			}
		}
		plain.Close()
	}
	slices.Sort(names)
	return names
}

func TestPublishAnImage(t *testing.T) {
	s := newImageServer(t)
	s.base(t, "python", map[string]string{"usr/bin/python3": "python"})
	top := t.TempDir()
	dir := filepath.Join(top, "doubler")
	writeModel(t, dir, "", predictDouble)
	for _, file := range []string{".git/config", "notes/secret.txt", "__pycache__/predict.pyc", ".mmignore", "weights.bin"} {
		write(t, filepath.Join(dir, file), "notes/\n")
	}
	first, err := s.publish(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(first.Artifact.Image, s.host+"/models/doubler@sha256:") || first.Artifact.Upload != "" {
		t.Errorf("the artifact is %+v", first.Artifact)
	}
	if diff := cmp.Diff([]string{"predict.py", "weights.bin"}, content(t, first.Artifact.Image)); diff != "" {
		t.Errorf("the model's folder (-want +got):\n%s", diff)
	}
	// A commit changes nothing that the model is made of.
	if err := os.RemoveAll(filepath.Join(dir, ".git")); err != nil {
		t.Fatal(err)
	}
	commit(t, top)
	again, err := s.publish(t, dir)
	if err != nil || again.Artifact != first.Artifact || len(s.requests) != 1 {
		t.Errorf("published again it is %+v, %v", again.Artifact, err)
	}
	write(t, filepath.Join(dir, "predict.py"), predictDouble+"\n")
	if second, err := s.publish(t, dir); err != nil || second.Artifact == first.Artifact {
		t.Errorf("changed it is %+v, %v", second.Artifact, err)
	}
	tagged := must(remote.Index(must(name.ParseReference(s.host + "/models/doubler:2"))))
	if manifest := must(tagged.IndexManifest()); !strings.HasSuffix(s.requests[1].Artifact.Image, manifest.Manifests[0].Digest.String()) {
		t.Errorf("the tag names %s", manifest.Manifests[0].Digest)
	}
}

// commit makes a repository of a folder.
func commit(t *testing.T, dir string) {
	t.Helper()
	for _, arguments := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=Tester", "-c", "user.email=tests@example.org", "commit", "-qm", "A model"}} {
		if output, err := exec.Command("git", append([]string{"-C", dir}, arguments...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", arguments, err, output)
		}
	}
}

func TestPublishAnImageOfOnesOwn(t *testing.T) {
	s := newImageServer(t)
	own := s.base(t, "scorer", map[string]string{"score": "program"})
	dir := filepath.Join(t.TempDir(), "scorer")
	yaml := `name: scorer
summary: Scores.
owner: tests@example.org
features: [{name: x, type: number}]
predictions: [{name: y, type: number}]
run: {http: {path: /invocations}}
build: {image: "` + own + `"}
examples: [{features: {x: 2}}]
`
	write(t, filepath.Join(dir, "model.yaml"), yaml)
	request, err := s.publish(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	_, digest, _ := strings.Cut(own, "@")
	if request.Artifact.Image != s.host+"/models/scorer@"+digest {
		t.Errorf("the artifact is %s, want a copy of %s", request.Artifact.Image, own)
	}
	var published struct {
		Run struct{ HTTP struct{ Command []string } }
	}
	if err := json.Unmarshal(request.Spec, &published); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/score", "--fast"}, published.Run.HTTP.Command); diff != "" {
		t.Errorf("its command (-want +got):\n%s", diff)
	}
	if _, err := spec.Receive(request.Spec); err != nil {
		t.Errorf("a server refuses the spec: %v", err)
	}
	report, err := validateFolder(t, dir, nil)
	if modelmanager.CodeOf(err) != modelmanager.CodeNeedsKubernetes {
		t.Errorf("on one machine: %v, %v", report, err)
	}
}

func TestImagesThatCannotBeMade(t *testing.T) {
	debian := map[string]string{"var/lib/dpkg/status": "Package: libgomp1\nStatus: install ok installed\nVersion: 12\n"}
	r := map[string]string{"usr/lib/R/site-library/jsonlite/DESCRIPTION": "Package: jsonlite\nVersion: 2.0.0\n"}
	tests := map[string]struct {
		more, run string
		files     map[string]string
		says      []string
	}{
		"no base":         {run: "command: [node, score.js]", says: []string{"--base node=", "MM_BASE_NODE", "python"}},
		"packages":        {more: "build: {packages: [libgomp1, libxml2]}", says: []string{"libxml2", "--base python=", "--buildkit"}},
		"version":         {more: `build: {version: "3.12"}`, says: []string{"python3", "--base python="}},
		"renv":            {run: "r: predict.R:predict", files: map[string]string{"predict.R": "predict <- function(rows) rows", "renv.lock": `{"Packages": {"jsonlite": {"Version": "1.8.4"}, "mgcv": {"Version": "1.9"}, "renv": {"Version": "1"}}}`}, says: []string{"jsonlite 1.8.4 (there is 2.0.0)", "mgcv 1.9", "--buildkit", "build.image"}},
		"no such program": {run: "command: [./score]", more: "build: {command: [\"true\"]}", says: []string{"./score", "build.command"}},
		"another system":  {run: "command: [./score]", files: map[string]string{"score": "MZ"}, says: []string{"linux/amd64", "GOARCH=amd64"}},
		"dockerfile":      {more: "build: {dockerfile: Dockerfile}", files: map[string]string{"Dockerfile": "FROM scratch"}, says: []string{"Dockerfile", "--buildkit", "BUILDKIT_HOST", "build.image"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newImageServer(t)
			s.base(t, "python", debian)
			s.base(t, "r", r)
			dir := filepath.Join(t.TempDir(), "doubler")
			writeModel(t, dir, test.more, predictDouble)
			for file, text := range test.files {
				write(t, filepath.Join(dir, file), text)
				if err := os.Chmod(filepath.Join(dir, file), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if test.run != "" {
				yaml := must(os.ReadFile(filepath.Join(dir, "model.yaml")))
				write(t, filepath.Join(dir, "model.yaml"), strings.ReplaceAll(string(yaml), "python: predict.py:predict", test.run))
			}
			_, err := s.publish(t, dir)
			if err == nil {
				t.Fatal("it was published")
			}
			for _, part := range test.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q isn't in: %v", part, err)
				}
			}
			if len(s.requests) > 0 {
				t.Error("something was published")
			}
		})
	}
}

func TestLanguageOf(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "run.py"), "#!/usr/bin/env -S python3 -u\nprint()\n")
	write(t, filepath.Join(dir, "run.sh"), "#!/bin/sh\n")
	write(t, filepath.Join(dir, "program"), "\x7fELF")
	for want, run := range map[string]spec.Run{
		"python": {Python: "predict.py:predict"},
		"r":      {R: "predict.R:predict"},
		"java":   {Command: []string{"java", "-jar", "a.jar"}},
		"static": {Command: []string{"./program"}},
		"sh":     {Command: []string{"./run.sh"}},
		"node":   {HTTP: &spec.HTTP{Command: []string{"/usr/bin/node", "a.js"}}},
	} {
		if got, err := languageOf(&Prepared{Spec: &spec.Spec{Run: run}, Dir: dir}); err != nil || got != want {
			t.Errorf("%+v: %s, %v, want %s", run, got, err, want)
		}
	}
	for _, command := range [][]string{{"gunicorn", "app:app"}, {"python3.12", "a.py"}, {"./run.py"}} {
		if got, err := languageOf(&Prepared{Spec: &spec.Spec{Run: spec.Run{Command: command}}, Dir: dir}); err != nil || got != "python" {
			t.Errorf("%v: %s, %v, want python", command, got, err)
		}
	}
}

func TestBasesOf(t *testing.T) {
	got, err := BasesOf(map[string]string{"python": "server", "r": "server", "java": "server"},
		[]string{"HOME=/", "MM_BASE_R=env", "MM_BASE_PYTHON3_12=env", "MM_BASE_PYTHON=env"}, []string{"python=flag"})
	want := map[string]string{"python": "flag", "r": "env", "java": "server", "python3.12": "env"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if _, err := BasesOf(nil, nil, []string{"python"}); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
		t.Errorf("--base python: %v", err)
	}
	images := &Images{Bases: map[string]string{"python": "any", "python3.12": "newer", "python3": "three"}}
	for version, want := range map[string]string{"": "any", "3.12": "newer", "3.12.4": "newer", "3.11": "three", "2.7": "any"} {
		if got := images.reference(&spec.Spec{Build: &spec.Build{Version: version}}, "python"); got != want {
			t.Errorf("Python %s gets %s, want %s", version, got, want)
		}
	}
}
