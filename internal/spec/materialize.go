package spec

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"

	"modelmanager.dev"
)

// Materialize writes the model's files, templates' and shared ones among them,
// into a folder that is empty or not there yet. If it fails, what it wrote so
// far stays.
func (f *Folder) Materialize(ctx context.Context, dst string) error {
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return modelmanager.Errorf(modelmanager.CodeInternal, "making the folder for model %s: %w", f.Spec.Name, err)
	}
	root, err := os.OpenRoot(dst)
	if err != nil {
		return modelmanager.Errorf(modelmanager.CodeInternal, "opening the folder for model %s: %w", f.Spec.Name, err)
	}
	defer root.Close()
	if entries, err := os.ReadDir(dst); err != nil || len(entries) > 0 {
		return modelmanager.Errorf(modelmanager.CodeConflict, "writing model %s into %s: the folder is not empty", f.Spec.Name, dst)
	}
	for _, file := range f.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := file.copyTo(root); err != nil {
			return modelmanager.Errorf(modelmanager.CodeInternal, "writing %s of model %s: %w", file.Path, f.Spec.Name, err)
		}
	}
	return nil
}

func (r FileRef) copyTo(root *os.Root) error {
	if dir := path.Dir(r.Path); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	in, err := os.Open(r.Source)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := root.OpenFile(r.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, r.Mode)
	if err != nil {
		return err
	}
	n, err := io.Copy(out, in)
	if err == nil && n != r.Size {
		err = fmt.Errorf("the file changed while it was copied: it had %d bytes and now has %d", r.Size, n)
	}
	if err == nil {
		err = out.Chmod(r.Mode) // whatever the umask
	}
	if failed := out.Close(); err == nil {
		err = failed
	}
	return err
}
