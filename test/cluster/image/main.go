// Command image makes an image of one layer, from a file or from an archive of
// a file system, and pushes it to a registry or saves it as a tarball, without
// any daemon. Images made of the same are the same, to the byte.
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// options say what the image is made of, and where it goes.
type options struct {
	fromFile   string // a file, which becomes the image's only one
	at         string // its path in the image
	fromLayer  string // or: an archive of the whole file system, plain or gzip
	entrypoint string // comma-separated
	env        string // comma-separated
	user       string // "uid:gid"
	tag        string // the image's name
	save       string // the tarball to write; if empty, the image is pushed
}

func main() {
	var o options
	flag.StringVar(&o.fromFile, "from-file", "", "the image's only file")
	flag.StringVar(&o.at, "at", "", "where in the image that file is")
	flag.StringVar(&o.fromLayer, "from-layer", "", "an archive of the image's file system")
	flag.StringVar(&o.entrypoint, "entrypoint", "", "the image's entrypoint, comma-separated")
	flag.StringVar(&o.env, "env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "the image's environment, comma-separated")
	flag.StringVar(&o.user, "user", "65532:65532", "who runs the entrypoint")
	flag.StringVar(&o.tag, "tag", "", "the image's name")
	flag.StringVar(&o.save, "save", "", "write a tarball instead of pushing")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	reference, err := name.NewTag(o.tag)
	if err != nil {
		return err
	}
	layer, err := layer(o)
	if err != nil {
		return fmt.Errorf("make the layer: %w", err)
	}
	image, err := configured(layer, o)
	if err != nil {
		return fmt.Errorf("put the image together: %w", err)
	}
	if o.save != "" {
		return tarball.WriteToFile(o.save, reference, image)
	}
	if err := remote.Write(reference, image); err != nil {
		return fmt.Errorf("push %s: %w", reference, err)
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("%s@%s\n", reference, digest)
	return nil
}

// layer returns the image's only layer.
func layer(o options) (v1.Layer, error) {
	switch {
	case o.fromLayer != "":
		return tarball.LayerFromFile(o.fromLayer, tarball.WithMediaType(types.OCILayer))
	case o.fromFile != "" && o.at != "":
		content, err := os.ReadFile(o.fromFile)
		if err != nil {
			return nil, err
		}
		return fileLayer(o.at, content)
	}
	return nil, errors.New("neither -from-layer nor -from-file with -at is given")
}

func fileLayer(path string, content []byte) (v1.Layer, error) {
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	header := &tar.Header{Name: strings.TrimPrefix(path, "/"), Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}
	if err := archive.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := archive.Write(content); err != nil {
		return nil, err
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buffer.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
}

func configured(layer v1.Layer, o options) (v1.Image, error) {
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	config.Config = v1.Config{User: o.user, WorkingDir: "/", Env: split(o.env), Entrypoint: split(o.entrypoint)}
	return mutate.ConfigFile(image, config)
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}
