package archive

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"path"

	"modelmanager.dev"
)

// ReadFile returns one file of an archive, without unpacking it. It reads no
// further than to the file's end. CodeNotFound says that there is no such file;
// CodeTooLarge, that it has more than limit bytes.
func ReadFile(ctx context.Context, r io.Reader, name string, limit int64) ([]byte, error) {
	plain, closePlain, err := decompress(contextReader{ctx, r})
	if err != nil {
		return nil, err
	}
	defer closePlain()
	in := tar.NewReader(plain)
	for {
		header, err := in.Next()
		if err == io.EOF {
			return nil, modelmanager.Errorf(modelmanager.CodeNotFound, "the archive has no file %s", name)
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s from an archive: %w", name, err)
		}
		if path.Clean(header.Name) != path.Clean(name) || header.Typeflag != tar.TypeReg {
			continue
		}
		if header.Size > limit {
			return nil, modelmanager.Errorf(modelmanager.CodeTooLarge, "%s has %d bytes, the limit is %d", name, header.Size, limit)
		}
		return io.ReadAll(in)
	}
}
