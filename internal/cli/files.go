package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"modelmanager.dev"
)

// openInput opens a file that the user has named.
func openInput(path string) (*os.File, fs.FileInfo, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, modelmanager.Errorf(modelmanager.CodeInvalidInput, "there is no file %s", path)
	}
	if err != nil {
		return nil, nil, modelmanager.Errorf(modelmanager.CodeInvalidInput, "%s can't be read: %w", path, err)
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = modelmanager.Errorf(modelmanager.CodeInvalidInput, "%s is a folder; name a file in it", path)
	}
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// writable finds out beforehand that a result can't be written, rather than
// after the work.
func writable(paths ...string) error {
	for _, path := range paths {
		if path == "" || path == "-" {
			continue
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return usageError{fmt.Errorf("%s is a folder; name a file in it to write to", path)}
		}
		dir := filepath.Dir(path)
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return usageError{fmt.Errorf("%s can't be written: there is no folder %s", path, dir)}
		}
	}
	return nil
}

// writeFile writes all of a stream to a file, or leaves what was there.
func writeFile(path string, stream io.Reader) (err error) {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			temporary.Close()
			os.Remove(temporary.Name())
		}
	}()
	if _, err = io.Copy(temporary, stream); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err = temporary.Chmod(0o644); err != nil {
		return err
	}
	if err = temporary.Close(); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.Rename(temporary.Name(), path)
}
