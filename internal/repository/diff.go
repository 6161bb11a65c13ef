package repository

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"modelmanager.dev"
)

// Kinds of what lies in a tree, as git numbers them.
const (
	ModeFile       = "100644"
	ModeExecutable = "100755"
	ModeLink       = "120000"
	ModeSubmodule  = "160000"
	modeTree       = "040000"
	modeNone       = "000000"
)

// PathChange is one path that differs between two states. A path that is only
// on one side has no mode and no hash on the other.
type PathChange struct {
	Path     string // with slashes, as bytes: any, but NUL
	From, To Object
}

// Object is what lies at a path. Hash is "" where it isn't known: of a file in
// the work tree.
type Object struct{ Mode, Hash string }

// There tells whether there is something.
func (o Object) There() bool { return o.Mode != "" }

// IsFile tells whether it is a plain file.
func (o Object) IsFile() bool { return o.Mode == ModeFile || o.Mode == ModeExecutable }

// Diff tells each path that differs between two trees, in the order of paths.
// What is equal isn't looked at: git compares trees by their hashes.
func (r *Repository) Diff(ctx context.Context, fromTree, toTree string, each func(PathChange) error) error {
	if fromTree == toTree {
		return nil
	}
	err := r.stream(ctx, func(output io.Reader) error { return readRaw(output, each) },
		"diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-ext-diff", "--ignore-submodules=none", "--no-abbrev", fromTree, toTree, "--")
	if err != nil {
		return fmt.Errorf("comparing two revisions: %w", err)
	}
	return nil
}

// DiffWorkTree is Diff from a tree to the work tree as it is: what isn't
// committed counts, and so do new files that aren't ignored.
func (r *Repository) DiffWorkTree(ctx context.Context, fromTree string, each func(PathChange) error) error {
	if r.Root == "" {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "the repository %s is bare: it has no work tree to compare", r.GitDir)
	}
	err := r.stream(ctx, func(output io.Reader) error {
		return readRaw(output, func(change PathChange) error {
			change.To.Hash = ""
			return each(change)
		})
	}, "diff", "-z", "--raw", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-relative", "--ignore-submodules=dirty", "--no-abbrev", fromTree, "--")
	if err != nil {
		return fmt.Errorf("comparing a revision with the work tree: %w", err)
	}
	err = r.stream(ctx, func(output io.Reader) error {
		return readNUL(output, func(path string) error {
			return each(PathChange{Path: path, To: Object{Mode: ModeFile}})
		})
	}, "ls-files", "-z", "--others", "--exclude-standard", "--full-name", "--", r.Root)
	if err != nil {
		return fmt.Errorf("looking for new files in the work tree: %w", err)
	}
	return nil
}

// readRaw reads git's raw format: ":mode mode hash hash status", NUL, path, NUL.
func readRaw(output io.Reader, each func(PathChange) error) error {
	var meta string
	return readNUL(output, func(text string) error {
		if meta == "" {
			meta = text
			return nil
		}
		fields := strings.Fields(strings.TrimPrefix(meta, ":"))
		meta = ""
		if len(fields) != 5 {
			return modelmanager.Errorf(modelmanager.CodeInternal, "git told a change in a form that isn't known: %.100q", fields)
		}
		if fields[4] == "U" {
			return modelmanager.Errorf(modelmanager.CodeBadRequest, "%q is in conflict; finish the merge first", text)
		}
		change := PathChange{Path: text}
		if fields[0] != modeNone {
			change.From = Object{Mode: fields[0], Hash: fields[2]}
		}
		if fields[1] != modeNone {
			change.To = Object{Mode: fields[1], Hash: fields[3]}
		}
		return each(change)
	})
}

// readNUL reads texts that each end with a NUL.
func readNUL(output io.Reader, each func(string) error) error {
	reader := bufio.NewReaderSize(output, 64<<10)
	for {
		text, err := reader.ReadString(0)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := each(text[:len(text)-1]); err != nil {
			return err
		}
	}
}

// Entry is one file of a tree.
type Entry struct {
	Path string
	Object
}

// List tells every file of a tree in the given folders (none: in all), in the
// order of paths; a folder may be a link. Submodules and links are told as what they are.
func (r *Repository) List(ctx context.Context, tree string, folders []string, each func(Entry) error) error {
	arguments := []string{"ls-tree", "-r", "-z", "--full-tree", tree}
	if len(folders) > 0 {
		arguments = append(arguments, "--")
		arguments = append(arguments, folders...)
	}
	err := r.stream(ctx, func(output io.Reader) error {
		return readNUL(output, func(text string) error {
			meta, path, found := strings.Cut(text, "\t")
			fields := strings.Fields(meta)
			if !found || len(fields) != 3 {
				return modelmanager.Errorf(modelmanager.CodeInternal, "git told a file in a form that isn't known: %.100q", text)
			}
			return each(Entry{Path: path, Object: Object{Mode: fields[0], Hash: fields[2]}})
		})
	}, arguments...)
	if err != nil {
		return fmt.Errorf("listing the files of a revision: %w", err)
	}
	return nil
}
