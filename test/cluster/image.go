package cluster

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image is what PushImage puts together: files over a base.
type Image struct {
	Name  string          // its repository, below test/
	Base  string          // static, python, r, java; empty: no base at all
	Files map[string]File // by absolute path
}

// File is a file of an image, owned by root.
type File struct {
	Content []byte
	Mode    fs.FileMode
}

// Base returns the name of a base image: static, python, r or java.
func (c *Cluster) Base(language string) string {
	return c.Registry + "/base/" + language + ":test"
}

// PushImage pushes an image, and returns its name by digest. What was pushed
// before is not pushed again.
func (c *Cluster) PushImage(t testing.TB, image Image) string {
	t.Helper()
	repository, err := name.NewRepository(c.Registry + "/test/" + image.Name)
	if err != nil {
		t.Fatal(err)
	}
	built, err := c.build(image)
	if err != nil {
		t.Fatalf("putting the image %s together: %v", image.Name, err)
	}
	digest, err := built.Digest()
	if err != nil {
		t.Fatal(err)
	}
	reference := repository.Digest(digest.String())
	if err := remote.Write(reference, built, remote.WithContext(t.Context())); err != nil {
		t.Fatalf("pushing the image %s: %v", image.Name, err)
	}
	return reference.String()
}

func (c *Cluster) build(image Image) (v1.Image, error) {
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if image.Base != "" {
		reference, err := name.ParseReference(c.Base(image.Base))
		if err != nil {
			return nil, err
		}
		if base, err = remote.Image(reference); err != nil {
			return nil, err
		}
	}
	if len(image.Files) == 0 {
		return base, nil
	}
	archive, err := archiveOf(image.Files)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive)), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(base, layer)
}

func archiveOf(files map[string]File) ([]byte, error) {
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		file := files[path]
		header := &tar.Header{
			Typeflag: tar.TypeReg,
			Name:     strings.TrimPrefix(path, "/"),
			Mode:     int64(file.Mode.Perm()),
			Size:     int64(len(file.Content)),
		}
		if err := writer.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := writer.Write(file.Content); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}
