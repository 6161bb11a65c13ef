package pipeline

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// Names tells which other folders of a repository have a model of a name.
type Names func(folder, name string) []string

// namesIn reads the names of all models that a git repository tracks, once:
// enough of each model.yaml to tell its name.
func namesIn(ctx context.Context, root string) (Names, error) {
	output, err := exec.CommandContext(ctx, "git", "-C", root, "ls-files", "-z", "--cached", "--", ":(glob)**/model.yaml").Output()
	if err != nil {
		return nil, fmt.Errorf("looking for models in %s: %w", root, err)
	}
	folders := map[string][]string{}
	for path := range strings.SplitSeq(string(output), "\x00") {
		if path == "" {
			continue
		}
		dir := filepath.Join(root, filepath.Dir(filepath.FromSlash(path)))
		if name := nameIn(dir); name != "" {
			folders[name] = append(folders[name], dir)
		}
	}
	return func(folder, name string) []string {
		return slices.DeleteFunc(slices.Clone(folders[name]), func(other string) bool { return other == folder })
	}, nil
}

// nameIn returns the name that a folder's model.yaml gives its model; "" if it
// has none of its own. A plain line is read without parsing the rest, since
// there may be thousands of files.
func nameIn(dir string) string {
	path := filepath.Join(dir, "model.yaml")
	data, err := os.ReadFile(path)
	if err != nil || len(data) > scanLimit {
		return ""
	}
	for line := range bytes.Lines(data) {
		rest, found := bytes.CutPrefix(line, []byte("name:"))
		if !found {
			continue
		}
		text, _, _ := strings.Cut(string(rest), " #")
		text = strings.TrimSpace(text)
		if text != "" && strings.IndexFunc(text, func(r rune) bool {
			return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
		}) < 0 {
			return text
		}
		break
	}
	if !bytes.Contains(data, []byte("name")) {
		return ""
	}
	head, err := spec.ParseHead(path, data)
	if err != nil {
		return ""
	}
	return head.Name
}

// checkName finds other folders whose models have the same name.
func checkName(folder *spec.Folder, twins []string) []Finding {
	twins = slices.DeleteFunc(slices.Clone(twins), func(dir string) bool { return slices.Contains(folder.Extends, dir) })
	if len(twins) == 0 {
		return nil
	}
	f := found(SeverityError, modelmanager.CodeNameTaken, folder.Place("name"))
	f.Message = fmt.Sprintf("the name %s is also that of the model in %s", folder.Spec.Name, strings.Join(twins[:min(len(twins), 3)], ", "))
	if len(twins) > 3 {
		f.Message += fmt.Sprintf(" and %d more", len(twins)-3)
	}
	f.Suggestion = "give one of them another name: the two would replace each other"
	return []Finding{f}
}
