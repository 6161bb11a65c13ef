package image

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// layerDigests are the digests of a folder's layers, by a cache; nil: none.
func layerDigests(t *testing.T, cache *Cache, dir string) []string {
	t.Helper()
	layers, err := FolderLayers(dir)
	if cache != nil {
		layers, err = cache.FolderLayers(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	var digests []string
	for _, layer := range layers {
		digest, err := layer.layer.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest.String())
	}
	return digests
}

func TestRememberedLayersAreTheSame(t *testing.T) {
	cache := &Cache{Dir: t.TempDir()}
	dir := folder(t, map[string]string{"predict.py": "p", "weights.bin": strings.Repeat("w", 2<<20), "more/weights.bin": strings.Repeat("m", 1<<20)})
	want := layerDigests(t, nil, dir)
	for range 2 {
		if diff := cmp.Diff(want, layerDigests(t, cache, dir)); diff != "" {
			t.Errorf("layers (-want +got):\n%s", diff)
		}
	}
	weights, renamed := filepath.Join(dir, "weights.bin"), filepath.Join(dir, "other.bin")
	changes := []struct {
		what   string
		change func() error
	}{
		{"another content", func() error { return os.WriteFile(weights, []byte(strings.Repeat("v", 2<<20)), 0o600) }},
		{"more pieces", func() error { return os.WriteFile(weights, []byte(strings.Repeat("v", pieceSize+2)), 0o600) }},
		{"another last byte", func() error {
			return os.WriteFile(weights, []byte(strings.Repeat("v", pieceSize+1)+"w"), 0o600)
		}},
		{"a program", func() error { return os.Chmod(weights, 0o755) }},
		{"another name", func() error { return os.Rename(weights, renamed) }},
	}
	for _, c := range changes {
		before := layerDigests(t, cache, dir)
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		got := layerDigests(t, cache, dir)
		if got[0] == before[0] {
			t.Errorf("with %s the layer is the same", c.what)
		}
		if diff := cmp.Diff(layerDigests(t, nil, dir), got); diff != "" {
			t.Errorf("with %s (-want +got):\n%s", c.what, diff)
		}
	}
}

// A remembered layer that the registry has lost is packed again.
func TestARememberedLayerIsPushedAgain(t *testing.T) {
	w, r := newWorld(t), client()
	cache := &Cache{Dir: t.TempDir()}
	base := findBase(t, r, w.base(t, "base/python", minimal))
	dir := folder(t, map[string]string{"predict.py": "p", "weights.bin": strings.Repeat("w", 2<<20)})
	layerDigests(t, cache, dir)
	layers, err := cache.FolderLayers(dir)
	if err != nil {
		t.Fatal(err)
	}
	img, err := Assemble(base, layers, ModelConfig("iris", false))
	if err != nil {
		t.Fatal(err)
	}
	whole(t, pull(t, push(t, t.Context(), r, img, w.host+"/models/iris")))
}
