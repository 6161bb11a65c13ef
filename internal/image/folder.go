package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"

	"golang.org/x/sync/errgroup"

	"modelmanager.dev/internal/archive"
)

// largeFile is the size from which on a file isn't in a layer with the code: it
// changes more seldom, and what hasn't changed isn't pushed again.
const largeFile = 1 << 20

// FolderLayers makes layers of a model's folder: one of its large files, one of
// all others. The folder must not change while the layers are in use.
func FolderLayers(dir string) ([]Layer, error) { return folderLayers(dir, filesLayer) }

// FolderLayers does what the function of that name does, but remembers what large
// files are as a layer: compressing them, only to find that the registry has them,
// takes longer than all the rest.
func (c *Cache) FolderLayers(dir string) ([]Layer, error) { return folderLayers(dir, c.filesLayer) }

func folderLayers(dir string, largeLayer func(string, []archive.File) (*layer, error)) ([]Layer, error) {
	files, err := archive.List(dir, nil)
	if err != nil {
		return nil, err
	}
	split := func(file archive.File) bool { return file.Size >= largeFile }
	var layers []Layer
	if large := slices.DeleteFunc(slices.Clone(files), func(f archive.File) bool { return !split(f) }); len(large) > 0 {
		made, err := largeLayer(ModelDir[1:], large)
		if err != nil {
			return nil, err
		}
		layers = append(layers, Layer{made, "the model's large files"})
	}
	made, err := filesLayer(ModelDir[1:], slices.DeleteFunc(files, split))
	if err != nil {
		return nil, err
	}
	return append(layers, Layer{made, "the model's folder"}), nil
}

// filesLayer is the function of that name, with a layer's measures from the cache
// if the same files have been measured before.
func (c *Cache) filesLayer(folder string, files []archive.File) (*layer, error) {
	key, err := filesKey(folder, files)
	if err != nil {
		return nil, err
	}
	var known measure
	if data, err := c.read(key); err == nil && json.Unmarshal(data, &known) == nil {
		return &layer{measure: known, open: packing(folder, files)}, nil
	}
	made, err := filesLayer(folder, files)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(made.measure)
	if err != nil {
		return nil, err
	}
	return made, c.write(key, data)
}

// packed is raised when the same files become another layer than before.
const packed = "2"

// filesKey names all that a layer of files depends on, the code that compresses
// them included.
func filesKey(folder string, files []archive.File) (string, error) {
	pieces := make([][][sha256.Size]byte, len(files))
	var hashing errgroup.Group
	hashing.SetLimit(runtime.NumCPU())
	for i, file := range files {
		if file.Link != "" {
			continue
		}
		var err error
		if pieces[i], err = hashPieces(&hashing, file); err != nil {
			_ = hashing.Wait()
			return "", fmt.Errorf("reading %s: %w", file.Path, err)
		}
	}
	_ = hashing.Wait() // no hashing fails
	sum := sha256.New()
	fmt.Fprintf(sum, "%s %s %s %q\n", packed, runtime.Version(), compressor(), folder)
	for i, file := range files {
		fmt.Fprintf(sum, "%q %d %t %q %x\n", file.Path, file.Size, file.Executable, file.Link, pieces[i])
	}
	return "files-" + hex.EncodeToString(sum.Sum(nil))[:32] + ".json", nil
}

// pieceSize is of what one core hashes of a large file while others hash the rest.
const pieceSize = 4 << 20

// hashPieces reads a file, and has its pieces hashed meanwhile: the hashes are
// there when the group is done.
func hashPieces(hashing *errgroup.Group, file archive.File) ([][sha256.Size]byte, error) {
	content, err := file.Open()
	if err != nil {
		return nil, err
	}
	defer content.Close()
	hashes := make([][sha256.Size]byte, (file.Size+pieceSize-1)/pieceSize)
	for i := range hashes {
		piece := make([]byte, min(pieceSize, file.Size-int64(i)*pieceSize))
		if _, err := io.ReadFull(content, piece); err != nil {
			return nil, err
		}
		hashing.Go(func() error {
			hashes[i] = sha256.Sum256(piece)
			return nil
		})
	}
	return hashes, nil
}

// compressor is the version of the module that compresses layers.
func compressor() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, module := range info.Deps {
		if module.Path == "github.com/klauspost/compress" {
			return module.Version
		}
	}
	return ""
}
