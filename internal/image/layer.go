package image

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"modelmanager.dev/internal/archive"
)

// layerType is of all layers that are made here: zstd unpacks several times
// faster than gzip, and a pod waits for that.
const layerType = types.OCILayerZStd

// measure is what is known of a layer once it has been written.
type measure struct {
	Digest v1.Hash `json:"digest"`  // of the compressed bytes
	DiffID v1.Hash `json:"diff_id"` // of the tar file
	Size   int64   `json:"size"`    // compressed
}

// compress writes a layer's tar file, compressed, and measures it. The bytes
// depend on nothing but the tar file's.
func compress(w io.Writer, write func(*tar.Writer) error) (measure, error) {
	whole := &counter{hash: sha256.New()}
	// One block after the other: the result must not depend on the number of cores.
	zip, err := zstd.NewWriter(io.MultiWriter(w, whole), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return measure{}, fmt.Errorf("packing a layer: %w", err)
	}
	plain := sha256.New()
	out := tar.NewWriter(io.MultiWriter(zip, plain))
	if err := write(out); err != nil {
		zip.Reset(io.Discard)
		return measure{}, err
	}
	if err := out.Close(); err != nil {
		return measure{}, fmt.Errorf("packing a layer: %w", err)
	}
	if err := zip.Close(); err != nil {
		return measure{}, fmt.Errorf("packing a layer: %w", err)
	}
	return measure{Digest: sum(whole.hash), DiffID: sum(plain), Size: whole.n}, nil
}

type counter struct {
	hash hash.Hash
	n    int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.hash.Write(p)
}

func sum(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

// layer is a layer that can be read again and again: from a file, or made anew
// each time, so that a folder of any size needs neither memory nor disk.
type layer struct {
	measure
	open func() (io.ReadCloser, error) // compressed
}

// filesLayer makes a layer of files under a folder of the image, which is made
// too. The files must not change while the layer is in use.
func filesLayer(folder string, files []archive.File) (*layer, error) {
	m, err := compress(io.Discard, func(out *tar.Writer) error { return archive.AppendTo(out, folder, files) })
	if err != nil {
		return nil, err
	}
	return &layer{measure: m, open: packing(folder, files)}, nil
}

// packing packs files each time that it is called.
func packing(folder string, files []archive.File) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		reader, writer := io.Pipe()
		go func() {
			_, err := compress(writer, func(out *tar.Writer) error { return archive.AppendTo(out, folder, files) })
			writer.CloseWithError(err)
		}()
		return reader, nil
	}
}

// Digest implements v1.Layer.
func (l *layer) Digest() (v1.Hash, error) { return l.measure.Digest, nil }

// DiffID implements v1.Layer.
func (l *layer) DiffID() (v1.Hash, error) { return l.measure.DiffID, nil }

// Size implements v1.Layer.
func (l *layer) Size() (int64, error) { return l.measure.Size, nil }

// MediaType implements v1.Layer.
func (l *layer) MediaType() (types.MediaType, error) { return layerType, nil }

// Compressed implements v1.Layer.
func (l *layer) Compressed() (io.ReadCloser, error) { return l.open() }

// Uncompressed implements v1.Layer.
func (l *layer) Uncompressed() (io.ReadCloser, error) {
	compressed, err := l.open()
	if err != nil {
		return nil, err
	}
	plain, err := zstd.NewReader(compressed, zstd.WithDecoderConcurrency(1))
	if err != nil {
		compressed.Close()
		return nil, err
	}
	return &unzipped{plain, compressed}, nil
}

// unzipped closes both ends.
type unzipped struct {
	*zstd.Decoder
	source io.Closer
}

func (u *unzipped) Close() error {
	u.Decoder.Close()
	return u.source.Close()
}
