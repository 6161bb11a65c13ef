package storage

import (
	"context"
	"errors"
	"io/fs"
	"sort"
	"strings"
)

var errEnough = errors.New("enough")

// walk lists files in the order of their keys, which isn't that of the file
// names in a folder: "a-b" comes before "a/c".
type walk struct {
	ctx           context.Context
	root          fs.FS
	prefix, after string
	limit         int
	found         []Object
}

func (w *walk) folder(dir string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	name := dir
	if name == "" {
		name = "."
	}
	entries, err := fs.ReadDir(w.root, name)
	if err != nil {
		if gone(err) {
			return nil
		}
		return err
	}
	keys := make([]string, len(entries))
	for i, entry := range entries {
		keys[i] = entry.Name()
		if dir != "" {
			keys[i] = dir + "/" + keys[i]
		}
		if entry.IsDir() {
			keys[i] += "/"
		}
	}
	sort.Sort(&byKey{keys, entries})
	for i, key := range keys {
		if err := w.entry(key, entries[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) entry(key string, entry fs.DirEntry) error {
	if entry.IsDir() {
		related := strings.HasPrefix(key, w.prefix) || strings.HasPrefix(w.prefix, key)
		passed := w.after > key && !strings.HasPrefix(w.after, key)
		if !related || passed || key == scratch+"/" {
			return nil
		}
		return w.folder(strings.TrimSuffix(key, "/"))
	}
	if !strings.HasPrefix(key, w.prefix) || key <= w.after || !entry.Type().IsRegular() || checkKey(key) != nil {
		return nil
	}
	if len(w.found) == w.limit {
		return errEnough
	}
	info, err := entry.Info()
	if err != nil {
		return nil // deleted meanwhile
	}
	w.found = append(w.found, Object{Key: key, Size: info.Size(), Modified: info.ModTime()})
	return nil
}

type byKey struct {
	keys    []string
	entries []fs.DirEntry
}

func (s *byKey) Len() int           { return len(s.keys) }
func (s *byKey) Less(i, j int) bool { return s.keys[i] < s.keys[j] }
func (s *byKey) Swap(i, j int) {
	s.keys[i], s.keys[j] = s.keys[j], s.keys[i]
	s.entries[i], s.entries[j] = s.entries[j], s.entries[i]
}
