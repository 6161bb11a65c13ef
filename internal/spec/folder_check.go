package spec

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// folder checks the spec against the files that are there.
func (c *checker) folder(f *Folder, l *loader) {
	files := make(map[string]FileRef, len(f.Files))
	var names []string
	for _, file := range f.Files {
		files[file.Path] = file
		names = append(names, file.Path)
	}
	fc := &folderChecker{checker: c, files: files, names: names, ignored: l.ignored}
	fc.card(l)
	fc.call("python", c.spec.Run.Python, pythonFunction)
	fc.call("r", c.spec.Run.R, rFunction)
	fc.programs(l)
	if c.spec.Build != nil && c.spec.Build.Dockerfile != "" {
		fc.exists(c.spec.Build.Dockerfile, "build", "dockerfile")
	}
	for i, file := range c.spec.Files {
		if _, there := files[file.Path]; there {
			c.fault(fmt.Sprintf("%s is to be fetched, but lies in the folder too", quote(file.Path)), "delete one of them, or name the file in "+ignoreName, "files", i, "path")
		}
	}
}

type folderChecker struct {
	*checker
	files   map[string]FileRef
	names   []string
	ignored map[string]bool
}

// exists checks that the folder has a file; one that `files` fetches counts.
func (c *folderChecker) exists(name string, at ...any) bool {
	name = cleanPath(name)
	if _, ok := c.files[name]; ok || c.fetched(name) {
		return true
	}
	message := fmt.Sprintf("there is no file %s in the model's folder", quote(name))
	hint := ""
	if c.ignored[name] {
		message, hint = fmt.Sprintf("the file %s is left out of the model", quote(name)), ignoreName+" names it"
	} else if near := c.similar(name); near != "" {
		hint = "did you mean " + near + "?"
	}
	c.fault(message, hint, at...)
	return false
}

func (c *folderChecker) fetched(name string) bool {
	return slices.ContainsFunc(c.spec.Files, func(f File) bool { return f.Path == name })
}

// similar finds the file that was probably meant: of the same name elsewhere,
// or nearly so.
func (c *folderChecker) similar(name string) string {
	for _, other := range c.names {
		if strings.EqualFold(path.Base(other), path.Base(name)) {
			return other
		}
	}
	if near := nearest(name, c.names); near != "" {
		return near
	}
	only := ""
	for _, other := range c.names {
		if path.Ext(other) == path.Ext(name) {
			if only != "" {
				return ""
			}
			only = other
		}
	}
	return only
}

func (c *folderChecker) card(l *loader) {
	if c.spec.Card != "" {
		c.exists(c.spec.Card, "card")
		return
	}
	if _, ok := c.files["README.md"]; ok {
		c.spec.Card = "README.md"
		return
	}
	l.warnings = append(l.warnings, c.root.at.problem("card", "the model has no README.md; people will see its summary only", "write one: what the model is for, what it must not be used for, how good it is"))
}

var (
	pythonFunction = regexp.MustCompile(`(?m)^(?:async[ \t]+)?def[ \t]+([A-Za-z_][A-Za-z0-9_]*)[ \t]*\(`)
	rFunction      = regexp.MustCompile(`(?m)^[ \t]*([A-Za-z.][A-Za-z0-9._]*)[ \t]*(?:<-|=)[ \t]*function\b`)
)

// call checks that FILE:FUNCTION's file is there and has the function's name
// in it somewhere; how a file comes by a function is its own business.
func (c *folderChecker) call(kind, target string, functions *regexp.Regexp) {
	file, function, ok := strings.Cut(target, ":")
	if !ok || !c.exists(file, "run", kind) {
		return
	}
	ref, there := c.files[cleanPath(file)]
	if !there || ref.Size > 1<<20 {
		return
	}
	data, err := os.ReadFile(ref.Source)
	if err != nil {
		c.fault(fmt.Sprintf("reading %s: %v", file, err), "", "run", kind)
		return
	}
	text := string(data)
	word := regexp.MustCompile(`(^|[^A-Za-z0-9_.])` + regexp.QuoteMeta(function) + `($|[^A-Za-z0-9_.])`)
	if word.MatchString(text) || strings.Contains(text, "import *") || strings.Contains(text, "source(") {
		return
	}
	var names []string
	for _, match := range functions.FindAllStringSubmatch(text, 1000) {
		names = append(names, match[1])
	}
	hint := ""
	if near := nearest(function, names); near != "" {
		hint = "did you mean " + file + ":" + near + "?"
	} else if len(names) == 1 {
		hint = "its function is " + names[0] + ": write " + file + ":" + names[0]
	} else if len(names) > 0 && len(names) <= 8 {
		hint = "its functions are " + alternativesAnd(names)
	}
	c.fault(fmt.Sprintf("%s has no function %s", quote(file), quote(function)), hint, "run", kind)
}

// programs checks commands: a program that is named by its path must be there,
// unless building makes it. A script that is missing among the arguments is
// worth a warning.
func (c *folderChecker) programs(l *loader) {
	if c.spec.NeedsImage() || c.spec.Build != nil && len(c.spec.Build.Command) > 0 {
		return
	}
	for _, command := range []struct {
		words []string
		path  []any
	}{
		{c.spec.Run.Command, []any{"run", "command"}},
		{httpCommand(c.spec.Run.HTTP), []any{"run", "http", "command"}},
		{jobCommand(c.spec.Run.Job), []any{"run", "job", "command"}},
	} {
		for i, word := range command.words {
			at := append(slices.Clip(command.path), i)
			switch {
			case i == 0 && strings.Contains(word, "/") && !strings.HasPrefix(word, "/"):
				if c.exists(word, at...) {
					c.executable(cleanPath(word), at...)
				}
			case i > 0 && slices.Contains([]string{".py", ".R", ".r", ".jar", ".sh", ".js"}, filepath.Ext(word)) && !strings.ContainsAny(word, " $:=,;*") && !strings.HasPrefix(word, "/") && !strings.HasPrefix(word, "-"):
				if _, ok := c.files[cleanPath(word)]; !ok && !c.fetched(cleanPath(word)) {
					n, _ := c.root.find(at)
					l.warnings = append(l.warnings, n.at.problem(pathText(at), fmt.Sprintf("there is no file %s in the model's folder", quote(word)), ""))
				}
			}
		}
	}
}

func (c *folderChecker) executable(name string, at ...any) {
	if ref, ok := c.files[name]; ok && ref.Mode&0o111 == 0 {
		c.fault(fmt.Sprintf("the file %s can't be executed", quote(name)), "chmod +x "+name+" (in Git: git update-index --chmod=+x "+name+")", at...)
	}
}

func httpCommand(h *HTTP) []string {
	if h == nil {
		return nil
	}
	return h.Command
}

func jobCommand(j *Job) []string {
	if j == nil {
		return nil
	}
	return j.Command
}
