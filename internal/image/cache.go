package image

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/singleflight"
)

// Cache is a folder with what is dear to make anew: layers with environments,
// and what base images have. Processes may share one; a file appears only when
// it is complete, and what hasn't been used for a while goes.
type Cache struct {
	Dir string

	builds singleflight.Group
}

// unused is how long the cache keeps what nobody uses.
const unused = 30 * 24 * time.Hour

func (c *Cache) path(key string) string { return filepath.Join(c.Dir, key) }

// read returns a file, and notes that it is in use.
func (c *Cache) read(key string) ([]byte, error) {
	data, err := os.ReadFile(c.path(key))
	if err == nil {
		c.touch(key)
	}
	return data, err
}

func (c *Cache) touch(key string) {
	now := time.Now()
	_ = os.Chtimes(c.path(key), now, now) // in a read-only cache, nothing is swept either
}

// create makes a new file; keep puts it into its place.
func (c *Cache) create() (*os.File, error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the cache of images: %w", err)
	}
	return os.CreateTemp(c.Dir, ".new-*")
}

// keep gives a file that create made its name.
func (c *Cache) keep(file *os.File, key string) error {
	err := file.Chmod(0o644)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(file.Name(), c.path(key))
	}
	if err != nil {
		os.Remove(file.Name())
		return fmt.Errorf("writing into the cache of images: %w", err)
	}
	return nil
}

// drop gives up on a file that create made.
func (c *Cache) drop(file *os.File) {
	file.Close()
	os.Remove(file.Name())
}

func (c *Cache) write(key string, data []byte) error {
	file, err := c.create()
	if err != nil {
		return err
	}
	if _, err := file.Write(data); err != nil {
		c.drop(file)
		return fmt.Errorf("writing into the cache of images: %w", err)
	}
	return c.keep(file, key)
}

// sweep removes what nobody has used for long, and what killed processes left.
func (c *Cache) sweep(ctx context.Context) {
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if ctx.Err() != nil {
			return
		}
		if err == nil && info.Mode().Type()&^fs.ModeDir == 0 && time.Since(info.ModTime()) > unused {
			_ = os.RemoveAll(c.path(entry.Name())) // the next sweep tries again
		}
	}
}
