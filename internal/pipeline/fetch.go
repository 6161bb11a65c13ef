package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// fetch brings one large file of a model to its place, and verifies it. A file
// that isn't what its sha256 says never appears there.
func fetch(ctx context.Context, file spec.File, target string) (err error) {
	source, err := openURI(ctx, file.URI)
	if err != nil {
		return modelmanager.Errorf(modelmanager.CodeInvalidSpec, "fetching %s from %s: %w", file.Path, file.URI, err)
	}
	defer source.Close()
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(target), ".fetch-*")
	if err != nil {
		return err
	}
	defer func() {
		temporary.Close()
		if err != nil {
			os.Remove(temporary.Name())
		}
	}()
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(temporary, hash), source); err != nil {
		return modelmanager.Errorf(modelmanager.CodeInvalidSpec, "fetching %s from %s: %w", file.Path, file.URI, err)
	}
	if got := hex.EncodeToString(hash.Sum(nil)); !strings.EqualFold(got, file.SHA256) {
		return modelmanager.Errorf(modelmanager.CodeInvalidSpec,
			"fetching %s: what is at %s has sha256 %s, and model.yaml says %s; has the file changed?", file.Path, file.URI, got, file.SHA256)
	}
	if err := temporary.Chmod(0o644); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), target)
}

// openURI opens a file:// or https:// address.
func openURI(ctx context.Context, uri string) (io.ReadCloser, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "file":
		return os.Open(filepath.FromSlash(u.Path))
	case "http", "https":
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
		if err != nil {
			return nil, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return nil, err
		}
		if response.StatusCode != http.StatusOK {
			response.Body.Close()
			return nil, fmt.Errorf("the server answered %s", response.Status)
		}
		return response.Body, nil
	}
	return nil, fmt.Errorf("the scheme %q isn't known here; use file, http or https", u.Scheme)
}
