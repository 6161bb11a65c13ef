package pipeline

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"modelmanager.dev/internal/spec"
)

// seen is what a model's folder looked like.
type seen struct {
	stamp string // when last looked at
	done  string // the stamp that was dealt with
	name  string // its model's, when it could be loaded last

	again time.Time // when to deal with it again, though it looks the same; zero: not
	first bool      // it was dealt with as in the first pass

	folders []string // that the model is made of: its own, its templates', the shared ones
	rough   string   // of every file in them, when the folder was last loaded
	loaded  look     // what was found then
}

// look is what a folder looks like from outside.
type look struct {
	stamp string // names, sizes and times of its model's files, the template's included
	name  string // of its model; "" if it can't be loaded
}

// look looks at a folder. One that can't be loaded is judged by its own files
// alone. model.yaml is read again only when some file in the model's folders has
// changed: looking at thousands of folders each second has to be cheap.
func (s *seen) look(dir string) look {
	if s.folders == nil {
		s.folders = []string{dir}
	}
	rough := stampOf(filesIn(s.folders))
	if rough == s.rough {
		return s.loaded
	}
	folders := []string{dir}
	if folder, err := spec.LoadFolder(dir); err == nil {
		var files []string
		for _, file := range folder.Files {
			files = append(files, file.Source)
		}
		for _, dir := range append([]string{folder.Root}, folder.Extends...) {
			files = append(files, filepath.Join(dir, "model.yaml"))
		}
		folders = slices.Concat(folders, folder.Extends, folder.Shared)
		s.loaded = look{stamp: stampOf(files), name: folder.Spec.Name}
	} else {
		s.loaded = look{stamp: stampOf(filesIn(folders))}
	}
	// What rough saw is older than what was loaded; with other folders it saw
	// less, and the next look loads again.
	s.rough = ""
	if slices.Equal(folders, s.folders) {
		s.rough = rough
	}
	s.folders = folders
	return s.loaded
}

func filesIn(folders []string) []string {
	var files []string
	for _, dir := range folders {
		_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				files = append(files, path)
			}
			return nil // what can't be read is judged by what can
		})
	}
	return files
}

func stampOf(files []string) string {
	var b strings.Builder
	for _, path := range files {
		if info, err := os.Stat(path); err == nil {
			fmt.Fprintf(&b, "%s %d %d %o\n", path, info.Size(), info.ModTime().UnixNano(), info.Mode().Perm())
		}
	}
	return b.String()
}
