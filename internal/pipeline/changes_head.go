package pipeline

import (
	"bytes"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"modelmanager.dev/internal/spec"
)

// maxHead is the size of a model.yaml that is read at all; a larger one is no
// valid one.
const maxHead = 512 << 10

// head is what one model.yaml says about itself and the folders that its model
// is made of. Folders are those in the repository, with slashes; "." is its root.
type head struct {
	folder  string
	name    string // "" in a template
	extends string // "" if nothing, or what lies outside of the repository
	shared  []string
}

// readHead reads the head of a folder's model.yaml; of one that can't be read,
// nothing but the folder is known.
func readHead(folder string, data []byte) head {
	parsed, plain := plainHead(data)
	if !plain {
		var err error
		if parsed, err = spec.ParseHead(path.Join(folder, modelFile), data); err != nil {
			return head{folder: folder}
		}
	}
	h := head{folder: folder, name: parsed.Name, extends: placeIn(folder, parsed.Extends)}
	for _, shared := range parsed.Shared {
		if at := placeIn(folder, shared); at != "" {
			h.shared = append(h.shared, at)
		}
	}
	return h
}

const modelFile = "model.yaml"

// placeIn finds the folder in the repository that a value names, relative to
// the folder of its file; "" if there is no such place.
func placeIn(folder, value string) string {
	if value == "" || strings.ContainsRune(value, 0) || filepath.IsAbs(value) {
		return ""
	}
	at := path.Join(folder, filepath.ToSlash(value))
	if at == ".." || strings.HasPrefix(at, "../") {
		return ""
	}
	return at
}

var (
	topKey     = regexp.MustCompile(`^([a-z_]+):(?:[ ]+(.*))?$`)
	plainValue = regexp.MustCompile(`^([A-Za-z_./][A-Za-z0-9_./-]*|"[A-Za-z0-9_./ -]*"|'[A-Za-z0-9_./ -]*')[ ]*$`)
)

// plainHead reads the head of a model.yaml that is written as nearly all are,
// line by line; what is only a little unusual it leaves to the parser, which
// takes a hundred times as long.
func plainHead(data []byte) (spec.Head, bool) {
	var h spec.Head
	seen := map[string]bool{}
	list := false // within shared's list
	for line := range bytes.Lines(data) {
		text := string(bytes.TrimRight(line, "\r\n"))
		switch {
		case strings.TrimSpace(text) == "" || text[0] == '#':
			continue
		case list && strings.HasPrefix(strings.TrimLeft(text, " "), "- "):
			value, ok := plainText(strings.TrimPrefix(strings.TrimLeft(text, " "), "- "))
			if !ok {
				return h, false
			}
			h.Shared = append(h.Shared, value)
			continue
		case list && text[0] == ' ':
			return h, false
		case text[0] == ' ' || strings.HasPrefix(text, "- "):
			continue
		}
		list = false
		match := topKey.FindStringSubmatch(text)
		if match == nil {
			return h, false
		}
		key, value := match[1], match[2]
		if key != "name" && key != "extends" && key != "shared" {
			continue
		}
		if seen[key] {
			return h, false
		}
		seen[key] = true
		if key == "shared" {
			if list = value == ""; list {
				continue
			}
			inner, found := strings.CutPrefix(value, "[")
			inner, closed := strings.CutSuffix(strings.TrimRight(inner, " "), "]")
			if !found || !closed {
				return h, false
			}
			for item := range strings.SplitSeq(inner, ",") {
				text, ok := plainText(item)
				if !ok {
					return h, false
				}
				h.Shared = append(h.Shared, text)
			}
			continue
		}
		text, ok := plainText(value)
		if !ok {
			return h, false
		}
		if key == "name" {
			h.Name = text
		} else {
			h.Extends = text
		}
	}
	return h, true
}

// plainText reads a scalar that every reader of YAML takes for the same text.
func plainText(value string) (string, bool) {
	value, _, _ = strings.Cut(value, " #")
	match := plainValue.FindStringSubmatch(strings.TrimLeft(value, " "))
	if match == nil {
		return "", false
	}
	text := match[1]
	if text[0] == '"' || text[0] == '\'' {
		return text[1 : len(text)-1], true
	}
	switch strings.ToLower(text) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n", ".nan", ".inf":
		return "", false
	}
	return text, true
}
