package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// Options say where and how a folder is prepared.
type Options struct {
	Scratch  string       // a folder for temporary files; "": the system's
	Progress func(string) // told what is being done; may be nil
	Images   bool         // take models that bring an image of their own, too
	Files    *Files       // fetches what models name under files; nil: from any https address, and keeps nothing
}

func (o Options) say(format string, args ...any) {
	if o.Progress != nil {
		o.Progress(fmt.Sprintf(format, args...))
	}
}

// Prepared is a model's folder, complete: its template's and shared files laid
// in, its large files fetched, its build done.
type Prepared struct {
	Spec *spec.Spec
	Dir  string // of its own; gone after Close
	Tree string // digest of the folder before its build, for telling whether it changed

	lock     string    // the text of the lock file that validation made; "": none
	findings []Finding // of its files, before they were laid together
	place    func(path string) spec.Problem
}

// Close removes what Prepare made.
func (p *Prepared) Close() error { return os.RemoveAll(p.Dir) }

// Tree returns the digest of a model's files and resolved spec, before any
// build: equal trees are equal models.
func Tree(folder *spec.Folder) (string, error) {
	canonical, err := folder.Spec.Canonical()
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	fmt.Fprintf(hash, "%d %s\n", len(canonical), canonical)
	files := slices.Clone(folder.Files)
	slices.SortFunc(files, func(a, b spec.FileRef) int {
		if a.Path < b.Path {
			return -1
		}
		return 1
	})
	for _, file := range files {
		fmt.Fprintf(hash, "%q %o %d\n", file.Path, file.Mode.Perm()&0o111, file.Size)
		if err := hashFile(hash, file.Source); err != nil {
			return "", fmt.Errorf("reading %s: %w", file.Path, err)
		}
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil)), nil
}

func hashFile(w io.Writer, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(w, file)
	return err
}

// Prepare makes a folder of its own of a model's folder. The folder itself is
// only read. The caller closes what is returned.
func Prepare(ctx context.Context, folder *spec.Folder, options Options) (_ *Prepared, err error) {
	s := folder.Spec
	if s.NeedsImage() && !options.Images {
		return nil, needsImage(s)
	}
	tree, err := Tree(folder)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(options.Scratch, "model-"+s.Name+"-")
	if err != nil {
		return nil, err
	}
	p := &Prepared{Spec: s, Dir: dir, Tree: tree, findings: checkFolder(folder), place: folder.Place}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if err := folder.Materialize(ctx, dir); err != nil {
		return nil, fmt.Errorf("laying out %s: %w", s.Name, err)
	}
	if s.NeedsImage() {
		p.Spec, err = copied(s) // the image's command goes into it
		if err != nil || s.Build.Image != "" {
			return p, err
		}
	}
	files := options.Files
	if files == nil {
		files = &Files{}
	}
	for _, file := range s.Files {
		options.say("fetching %s", file.Path)
		if err := files.fetch(ctx, file, filepath.Join(dir, filepath.FromSlash(file.Path))); err != nil {
			return nil, err
		}
	}
	if s.Build != nil && len(s.Build.Command) > 0 {
		if err := build(ctx, s, dir, options); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// copied returns a spec that may be changed.
func copied(s *spec.Spec) (*spec.Spec, error) {
	canonical, err := s.Canonical()
	if err != nil {
		return nil, err
	}
	return spec.FromCanonical(canonical)
}

func needsImage(s *spec.Spec) error {
	return modelmanager.Errorf(modelmanager.CodeNeedsKubernetes,
		"%s runs in an image of its own (build.%s), which needs Kubernetes; on one machine, models run as plain processes",
		s.Name, imageKey(s.Build))
}

func imageKey(b *spec.Build) string {
	if b.Image != "" {
		return "image"
	}
	return "dockerfile"
}
