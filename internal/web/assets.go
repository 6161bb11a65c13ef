package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
)

//go:embed assets/*.css assets/*.js assets/*.svg
var assetFiles embed.FS

// assets serves the embedded files. An address has the hash of what is behind
// it, and never changes what it answers.
type assets struct{ byName map[string]*asset }

type asset struct {
	hash, contentType string
	encodings         map[string][]byte // "" is the file itself
}

var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

func newAssets() (*assets, error) {
	all := &assets{byName: map[string]*asset{}}
	files, err := assetFiles.ReadDir("assets")
	if err != nil {
		return nil, err
	}
	packer, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer packer.Close()
	for _, file := range files {
		data, err := assetFiles.ReadFile("assets/" + file.Name())
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(data)
		var zipped bytes.Buffer
		writer, err := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
		if err != nil {
			return nil, err
		}
		_, _ = writer.Write(data) // into memory
		_ = writer.Close()
		all.byName[file.Name()] = &asset{
			hash: hex.EncodeToString(sum[:8]), contentType: contentTypes[path.Ext(file.Name())],
			encodings: map[string][]byte{"": data, "gzip": zipped.Bytes(), "zstd": packer.EncodeAll(data, nil)},
		}
	}
	return all, nil
}

// url returns a file's address; a name that isn't there is a mistake of ours,
// and shows as one.
func (a *assets) url(name string) string {
	if file, found := a.byName[name]; found {
		return "/assets/" + file.hash + "/" + name
	}
	return fmt.Sprintf("/assets/missing/%s", name)
}

// ServeHTTP implements http.Handler.
func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	file := a.byName[r.PathValue("name")]
	if file == nil || file.hash != r.PathValue("hash") {
		http.Error(w, "there is no such file; reload the page", http.StatusNotFound)
		return
	}
	header := w.Header()
	header.Set("Content-Type", file.contentType)
	header.Set("Cache-Control", "public, max-age=31536000, immutable")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'") // of a picture that is opened by itself
	header.Set("Vary", "Accept-Encoding")
	encoding := encodingFor(r)
	if encoding != "" {
		header.Set("Content-Encoding", encoding)
	}
	_, _ = w.Write(file.encodings[encoding])
}

// encodingFor chooses how an answer is compressed: zstd, gzip or not at all.
func encodingFor(r *http.Request) string {
	accepted := map[string]bool{}
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, quality, _ := strings.Cut(strings.TrimSpace(part), ";")
		accepted[strings.TrimSpace(name)] = strings.Trim(quality, " qQ=0.") != "" || quality == ""
	}
	for _, name := range []string{"zstd", "gzip"} {
		if accepted[name] {
			return name
		}
	}
	return ""
}
