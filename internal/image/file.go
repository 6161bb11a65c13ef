package image

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"modelmanager.dev"
)

// maxSearched bounds how much of an image's layers is read to find one file.
const maxSearched = 256 << 20

// File returns a file of the model's folder in an image. It reads the layers
// from the top, where the folder is, and no further than to the file.
// CodeNotFound says that it isn't there, or lies behind too much else;
// CodeTooLarge, that it has more than limit bytes.
func (r *Registry) File(ctx context.Context, reference, name string, limit int64) ([]byte, error) {
	ref, err := r.parse(reference)
	if err != nil {
		return nil, err
	}
	doing := "reading " + name + " from the image " + reference
	img, err := remote.Image(ref, r.options(ctx)...)
	if err != nil {
		return nil, explain(ctx, err, "%s", doing)
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, explain(ctx, err, "%s", doing)
	}
	wanted := strings.TrimPrefix(path.Join(ModelDir, path.Join("/", name)), "/") // never outside of the folder
	left := int64(maxSearched)
	for i := len(layers) - 1; i >= 0 && left > 0; i-- {
		data, err := findIn(layers[i], wanted, limit, &left)
		if err != nil {
			return nil, explain(ctx, err, "%s", doing)
		}
		if data != nil {
			return data, nil
		}
	}
	return nil, modelmanager.Errorf(modelmanager.CodeNotFound, "%s: it has no such file", doing)
}

// findIn looks for a file in a layer; nil if it isn't there, or not within what
// is left to be read.
func findIn(layer v1.Layer, name string, limit int64, left *int64) ([]byte, error) {
	content, err := layer.Uncompressed()
	if err != nil {
		return nil, err
	}
	defer content.Close()
	counted := &io.LimitedReader{R: content, N: *left}
	defer func() { *left = counted.N }()
	in := tar.NewReader(counted)
	for {
		header, err := in.Next()
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) && counted.N == 0 {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if path.Clean(strings.TrimPrefix(header.Name, "/")) != name || header.Typeflag != tar.TypeReg {
			continue
		}
		if header.Size > limit {
			return nil, modelmanager.Errorf(modelmanager.CodeTooLarge, "%s has %d bytes, the limit is %d", name, header.Size, limit)
		}
		return io.ReadAll(in)
	}
}
