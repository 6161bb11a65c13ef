package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// registry is CNCF Distribution, with its blobs in a folder.
type registry struct {
	host    string
	command *exec.Cmd
}

// startRegistry starts the registry that `make cluster` builds.
func startRegistry(ctx context.Context, dir string) (*registry, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	program := filepath.Join(cache, "model-manager", "cluster", "bin", "registry")
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("there is no registry to push to; make cluster builds one: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &registry{host: l.Addr().String()}
	l.Close()
	config := filepath.Join(dir, "registry.yaml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: %q}\n",
		filepath.Join(dir, "blobs"), r.host)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	r.command = exec.Command(program, "serve", config)
	r.command.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if err := r.command.Start(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		if answer, err := http.Get("http://" + r.host + "/v2/"); err == nil {
			answer.Body.Close()
			return r, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			r.close()
			return nil, fmt.Errorf("the registry doesn't answer")
		}
	}
}

func (r *registry) close() {
	_ = r.command.Process.Kill()
	_ = r.command.Wait()
}

// pushBase pushes a base image of a size, in two layers.
func pushBase(ctx context.Context, reference string, size int) error {
	img := empty.Image
	for i := range 2 {
		var data bytes.Buffer
		out := tar.NewWriter(&data)
		content := noise(size/2 + i)
		if err := out.WriteHeader(&tar.Header{Name: fmt.Sprintf("usr/lib/part%d", i), Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}); err != nil {
			return err
		}
		if _, err := out.Write(content); err != nil {
			return err
		}
		if err := out.Close(); err != nil {
			return err
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data.Bytes())), nil })
		if err != nil {
			return err
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			return err
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return err
	}
	ref, err := name.ParseReference(reference)
	if err != nil {
		return err
	}
	return remote.Write(ref, img, remote.WithContext(ctx))
}
