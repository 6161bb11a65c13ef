package spec

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxFiles bounds a model's files: a folder with more holds an environment or
// a data set by mistake.
const maxFiles = 100000

// list lists the files of all layers. A model's own file hides its
// template's; a shared folder must not hide anything.
func (l *loader) list() []FileRef {
	all := map[string]FileRef{}
	l.ignored = map[string]bool{}
	for _, layer := range l.layers {
		ignore, err := readIgnore(layer.dir)
		if err != nil {
			l.broken(filepath.Join(layer.name, ignoreName), err.Error(), "")
			continue
		}
		w := &walker{loader: l, layer: layer, ignore: ignore, files: map[string]FileRef{}}
		w.walk(layer.dir, "", []string{layer.dir})
		for _, name := range sortedKeys(w.files) {
			if there, ok := all[name]; ok && layer.under != "" {
				l.broken(filepath.Join(layer.name, strings.TrimPrefix(name, layer.under+"/")), fmt.Sprintf("the shared file would lie at %s, where the model has %s", name, there.Source), "rename one of them")
				continue
			}
			all[name] = w.files[name]
			delete(l.ignored, name)
		}
	}
	for _, name := range sortedKeys(all) {
		for parent := path.Dir(name); parent != "."; parent = path.Dir(parent) {
			if file, ok := all[parent]; ok {
				l.broken(file.Source, fmt.Sprintf("this is a file, but %s needs a folder of that name", all[name].Source), "rename one of them")
				break
			}
		}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b FileRef) int { return cmp.Compare(a.Path, b.Path) })
}

func (l *loader) broken(file, message, hint string) {
	if len(l.problems) < maxProblems {
		l.problems = append(l.problems, place{}.file(file, message, hint))
	}
}

// walker lists one layer's files.
type walker struct {
	*loader
	layer  layer
	ignore *ignore
	files  map[string]FileRef
	full   bool
}

// walk lists a folder; trail has the folders above it, without symbolic links,
// so that a link to one of them is no endless way.
func (w *walker) walk(dir, below string, trail []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		w.broken(dir, err.Error(), "")
		return
	}
	for _, e := range entries {
		name := path.Join(below, e.Name())
		shown := filepath.Join(w.layer.name, filepath.FromSlash(name))
		source := filepath.Join(dir, e.Name())
		if w.ignore.skips(name, e.IsDir()) {
			w.ignored[path.Join(w.layer.under, name)] = true
			continue
		}
		info, err := e.Info()
		if err == nil && info.Mode()&fs.ModeSymlink != 0 {
			if source, info, err = w.follow(source, shown); source == "" {
				continue
			}
		}
		switch {
		case os.IsNotExist(err):
			// It went away while we looked.
		case err != nil:
			w.broken(shown, err.Error(), "")
		case !utf8.ValidString(e.Name()) || hasControl(e.Name()) || strings.Contains(e.Name(), `\`):
			w.broken(strings.ToValidUTF8(shown, "�"), "the file's name has characters that not every system can write", "rename it")
		case info.IsDir():
			w.folder(source, name, trail)
		case !info.Mode().IsRegular():
			w.broken(shown, "this is neither a file nor a folder", "delete it, or name it in "+ignoreName)
		default:
			w.file(source, name, info)
		}
	}
}

// follow resolves a symbolic link; source is "" if it may not be followed.
func (w *walker) follow(link, shown string) (source string, info fs.FileInfo, err error) {
	source, err = filepath.EvalSymlinks(link)
	if err != nil {
		w.broken(shown, "the symbolic link leads nowhere", "delete it, or name it in "+ignoreName)
		return "", nil, nil
	}
	if !inside(w.layer.dir, source) {
		w.broken(shown, "the symbolic link leaves the folder, to "+source, "copy the file, name its folder under `shared`, or name the link in "+ignoreName)
		return "", nil, nil
	}
	info, err = os.Stat(source)
	return source, info, err
}

func (w *walker) folder(source, name string, trail []string) {
	shown := filepath.Join(w.layer.name, filepath.FromSlash(name))
	if slices.Contains(trail, source) || len(trail) > 100 {
		w.broken(shown, "the symbolic link leads back to a folder that it lies in", "delete it, or name it in "+ignoreName)
		return
	}
	if _, err := os.Lstat(filepath.Join(source, "pyvenv.cfg")); err == nil {
		return // a virtual environment, whatever it is called
	}
	if _, err := os.Lstat(filepath.Join(source, fileName)); err == nil {
		w.warnings = append(w.warnings, place{}.file(shown, "this folder has a model.yaml of its own and is left out", ""))
		return
	}
	w.walk(source, name, append(slices.Clip(trail), source))
}

func (w *walker) file(source, name string, info fs.FileInfo) {
	if len(w.files) >= maxFiles {
		if !w.full {
			w.full = true
			w.broken(w.layer.name, fmt.Sprintf("the folder has more than %d files", maxFiles), "name what doesn't belong to the model in "+ignoreName)
		}
		return
	}
	mode := fs.FileMode(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	name = path.Join(w.layer.under, name)
	w.files[name] = FileRef{Path: name, Source: source, Mode: mode, Size: info.Size()}
}
