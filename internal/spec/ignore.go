package spec

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// ignoreName is the file that lists what a model's folder has, but the model
// doesn't: one pattern a line, as in a .gitignore.
const ignoreName = ".mmignore"

// alwaysIgnored never belongs to a model: other programs' own files.
var alwaysIgnored = []string{
	".git", ".gitignore", ".gitattributes", ".hg", ".svn", ".mmignore", "__pycache__", "*.pyc", ".venv", ".ipynb_checkpoints", ".pytest_cache", ".mypy_cache", ".ruff_cache",
	".Rproj.user", ".Rhistory", "renv/library", "renv/staging", "renv/sandbox", ".DS_Store", "Thumbs.db", ".idea", ".vscode", ".gradle",
}

// ignore decides which paths don't belong to a folder. The last pattern that
// matches decides.
type ignore struct{ patterns []pattern }

type pattern struct {
	match  *regexp.Regexp
	keep   bool // the line began with !
	folder bool // only folders
}

func readIgnore(root string) (*ignore, error) {
	i := new(ignore)
	for _, line := range alwaysIgnored {
		i.add(line)
	}
	info, err := os.Lstat(filepath.Join(root, ignoreName))
	if os.IsNotExist(err) {
		return i, nil
	}
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxFile {
		return i, err
	}
	data, err := os.ReadFile(filepath.Join(root, ignoreName))
	for line := range strings.Lines(string(data)) {
		i.add(line)
	}
	return i, err
}

func (i *ignore) add(line string) {
	line = strings.TrimRight(line, " \t\r\n")
	if line == "" || line[0] == '#' {
		return
	}
	p := pattern{}
	if p.keep = line[0] == '!'; p.keep {
		line = line[1:]
	}
	if strings.HasSuffix(line, "/") {
		p.folder, line = true, strings.TrimRight(line, "/")
	}
	line, rooted := strings.CutPrefix(line, "/")
	text := globText(line)
	if !rooted && !strings.Contains(line, "/") {
		text = "(.*/)?" + text
	}
	match, err := regexp.Compile("^" + text + "$")
	if err != nil || line == "" {
		return // as git does: a pattern that can't be read matches nothing
	}
	p.match = match
	i.patterns = append(i.patterns, p)
}

// globText writes a glob as a regular expression.
func globText(glob string) string {
	var text strings.Builder
	for len(glob) > 0 {
		switch {
		case strings.HasPrefix(glob, "**/"):
			text.WriteString("(.*/)?")
			glob = glob[3:]
		case strings.HasPrefix(glob, "**"):
			text.WriteString(".*")
			glob = glob[2:]
		case glob[0] == '*':
			text.WriteString("[^/]*")
			glob = glob[1:]
		case glob[0] == '?':
			text.WriteString("[^/]")
			glob = glob[1:]
		case glob[0] == '[' && strings.IndexByte(glob, ']') > 1:
			end := strings.IndexByte(glob, ']')
			class := strings.ReplaceAll(glob[1:end], `\`, `\\`)
			if class[0] == '!' {
				class = "^/" + class[1:]
			}
			text.WriteString("[" + class + "]")
			glob = glob[end+1:]
		case glob[0] == '\\' && len(glob) > 1:
			text.WriteString(regexp.QuoteMeta(glob[1:2]))
			glob = glob[2:]
		default:
			text.WriteString(regexp.QuoteMeta(glob[:1]))
			glob = glob[1:]
		}
	}
	return text.String()
}

// skips tells whether a path below the folder is left out. The model.yaml is,
// since the spec travels by itself: a new comment in it is no new version.
func (i *ignore) skips(name string, folder bool) bool {
	if name == fileName {
		return true
	}
	skip := false
	for _, p := range i.patterns {
		if (!p.folder || folder) && p.match.MatchString(path.Clean(name)) {
			skip = !p.keep
		}
	}
	return skip
}
