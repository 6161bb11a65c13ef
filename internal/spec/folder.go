package spec

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"modelmanager.dev"
)

// fileName is what a model's file is called.
const fileName = "model.yaml"

func cleanPath(p string) string { return path.Clean(p) }

// Folder is a model's folder with all that belongs to the model: its own
// files, its template's and the shared folders'.
type Folder struct {
	Spec     *Spec     // resolved: complete without its template
	Root     string    // absolute, without symbolic links
	Files    []FileRef // sorted by path; without model.yaml, which travels as Spec
	Extends  []string  // the templates' folders, absolute, the nearest first
	Shared   []string  // the shared folders, absolute
	Warnings []Problem // what is allowed, and perhaps not meant

	tree *node // what the spec was read from, for places
}

// FileRef is a file of a model.
type FileRef struct {
	Path   string      // in the model, with slashes
	Source string      // on disk, absolute
	Mode   fs.FileMode // 0644 or 0755
	Size   int64       // bytes
}

// maxExtends bounds how many templates stand on each other.
const maxExtends = 10

// LoadFolder reads the model.yaml of a folder, resolves its templates and
// shared folders, lists the model's files and checks everything that can be
// checked without running the model. The error is of type Problems, or says
// that the folder can't be read. Files are named as dir was.
func LoadFolder(dir string) (*Folder, error) {
	root, err := realPath(dir)
	if err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeNotFound, "loading the model in %s: %w", dir, err)
	}
	l := &loader{repository: repositoryOf(root)}
	own, err := l.read(dir, root)
	if err != nil {
		return nil, err
	}
	twice := len(l.problems)
	tree := l.resolve(own, map[string]bool{root: true})
	s, c, problems := interpret(tree, len(l.problems) > twice)
	l.problems = append(l.problems, problems...)
	f := &Folder{Spec: s, Root: root, tree: tree}
	l.layers = append(l.layers, layer{dir: root, name: dir})
	for i := len(l.layers) - 2; i >= 0; i-- {
		f.Extends = append(f.Extends, l.layers[i].dir)
	}
	f.Shared = l.shared(tree)
	f.Files = l.list()
	if len(l.problems) == 0 {
		c.folder(f, l)
		l.problems = append(l.problems, c.problems...)
	}
	if len(l.problems) > 0 {
		return nil, ordered(l.problems)
	}
	f.Warnings = ordered(l.warnings)
	return f, nil
}

// loader collects what a model is made of.
type loader struct {
	repository string  // the enclosing repository's root; "" if there is none
	layers     []layer // templates from the last to the nearest, then the model, then shared folders
	problems   []Problem
	warnings   []Problem
	ignored    map[string]bool // files that an ignore pattern leaves out
}

// layer is a folder whose files belong to the model.
type layer struct {
	dir   string // absolute
	name  string // as people wrote it
	under string // where it lies in the model; "" at the top
}

func realPath(dir string) (string, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(absolute)
}

// repositoryOf returns the nearest folder upwards with a .git in it.
func repositoryOf(dir string) string {
	for {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

// inside tells whether a path is a folder or lies in it.
func inside(folder, name string) bool {
	relative, err := filepath.Rel(folder, name)
	return err == nil && relative != ".." && !strings.HasPrefix(relative, ".."+string(filepath.Separator))
}

// read reads one folder's model.yaml into a tree.
func (l *loader) read(name, dir string) (*node, error) {
	file, shown := filepath.Join(dir, fileName), filepath.Join(name, fileName)
	info, err := os.Lstat(file)
	switch {
	case os.IsNotExist(err):
		hint := "write one, or let `mm init NAME` do it"
		if _, err := os.Stat(filepath.Join(dir, "model.yml")); err == nil {
			hint = "rename model.yml to model.yaml"
		}
		return nil, Problems{place{}.file(shown, "there is no such file", hint)}
	case err != nil:
		return nil, modelmanager.Errorf(modelmanager.CodeInvalidSpec, "reading %s: %w", shown, err)
	case info.Mode()&fs.ModeSymlink != 0:
		// git tells what changed by paths: those of links, not of what they lead to.
		target, _ := os.Readlink(file)
		return nil, Problems{place{}.file(shown, "this is a symbolic link, to "+quote(target)+": what changes there would not be seen as a change here",
			"put the file itself here; what models have in common goes into a template, which they extend")}
	case info.IsDir():
		return nil, Problems{place{}.file(shown, "this is a folder, and should be a file", "move it away; `mm init NAME` writes a model.yaml")}
	case !info.Mode().IsRegular():
		return nil, Problems{place{}.file(shown, "this is a device, a pipe or a socket, and should be a file", "`mm init NAME` writes one")}
	case info.Size() > maxFile:
		return nil, Problems{tooLarge(shown, info.Size())}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeInvalidSpec, "reading %s: %w", shown, err)
	}
	tree, problems := readTree(shown, data)
	if tree == nil {
		return nil, problems
	}
	l.problems = append(l.problems, problems...)
	return tree, nil
}

// resolve merges a tree with its templates, and adds their folders to the
// layers, the last template first.
func (l *loader) resolve(own *node, seen map[string]bool) *node {
	to := own.get("extends")
	if to == nil || to.kind != kindText || to.text == "" {
		return own
	}
	dir, name, ok := l.folderAt(to, "extends")
	if !ok {
		return own
	}
	switch {
	case seen[dir]:
		l.wrong(to, "extends", fmt.Sprintf("%s leads back to a folder that extends it", quote(to.text)), "a template can't extend its own models")
		return own
	case len(seen) > maxExtends:
		l.wrong(to, "extends", fmt.Sprintf("more than %d templates stand on each other", maxExtends), "")
		return own
	}
	seen[dir] = true
	base, err := l.read(name, dir)
	if problems, ok := err.(Problems); ok {
		if len(problems) == 1 && problems[0].Line == 0 {
			l.wrong(to, "extends", fmt.Sprintf("there is no %s in the folder %s", fileName, quote(to.text)), "extends names a template's folder, relative to this one")
		} else {
			l.problems = append(l.problems, problems...)
		}
		return own
	}
	if err != nil {
		l.wrong(to, "extends", err.Error(), "")
		return own
	}
	base = l.resolve(base, seen)
	l.layers = append(l.layers, layer{dir: dir, name: name})
	return mergeSpecs(base, own)
}

func (l *loader) wrong(n *node, path, message, hint string) {
	l.problems = append(l.problems, n.at.problem(path, message, hint))
}

// folderAt finds the folder that a value names, relative to the file that the
// value stands in. It must lie in the same repository.
func (l *loader) folderAt(n *node, path string) (dir, name string, ok bool) {
	if filepath.IsAbs(n.text) {
		l.wrong(n, path, fmt.Sprintf("the path %s is absolute", quote(n.text)), "write it relative to this folder, as in ../lib")
		return "", "", false
	}
	name = filepath.Join(filepath.Dir(n.at.source.name), filepath.FromSlash(n.text))
	dir, err := realPath(name)
	if err != nil {
		l.wrong(n, path, fmt.Sprintf("there is no folder %s", quote(n.text)), "paths are relative to the folder of this file; this one leads to "+name)
		return "", "", false
	}
	if l.repository != "" && !inside(l.repository, dir) {
		l.wrong(n, path, fmt.Sprintf("the folder %s is outside of this repository", quote(n.text)), "a version must be built from one commit: bring the folder into the repository")
		return "", "", false
	}
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		hint := ""
		if filepath.Base(dir) == fileName {
			hint = "name the folder, without /" + fileName
		}
		l.wrong(n, path, fmt.Sprintf("%s is not a folder", quote(n.text)), hint)
		return "", "", false
	}
	return dir, name, true
}

// shared finds the shared folders and makes layers of them.
func (l *loader) shared(tree *node) []string {
	list := tree.get("shared")
	if list == nil {
		return nil
	}
	var folders []string
	under := map[string]bool{}
	for i, item := range list.items {
		if item.kind != kindText || item.text == "" {
			continue
		}
		path := fmt.Sprintf("shared[%d]", i)
		dir, name, ok := l.folderAt(item, path)
		if !ok {
			continue
		}
		base := filepath.Base(dir)
		switch {
		case under[base]:
			l.wrong(item, path, fmt.Sprintf("two shared folders are named %s", quote(base)), "rename one of them: each lies in the model under its own name")
			continue
		case inside(l.layers[len(l.layers)-1-len(folders)].dir, dir):
			l.wrong(item, path, fmt.Sprintf("the folder %s lies in this model's folder already", quote(item.text)), "delete it here")
			continue
		case inside(dir, l.layers[len(l.layers)-1-len(folders)].dir):
			l.wrong(item, path, fmt.Sprintf("the folder %s holds this model's own folder", quote(item.text)), "share a folder beside it")
			continue
		}
		under[base] = true
		folders = append(folders, dir)
		l.layers = append(l.layers, layer{dir: dir, name: name, under: base})
	}
	return folders
}
