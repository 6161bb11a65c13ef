package main

import (
	"fmt"
	"io"
	"os"
)

// copySelf copies this program to a file that anybody may run: an image of it
// alone has no other program to do so. The file appears complete or not at all.
func copySelf(path string) (err error) {
	name, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	source, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("copying this program: %w", err)
	}
	defer source.Close()
	temporary := path + ".new"
	target, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return fmt.Errorf("copying this program: %w", err)
	}
	_, err = io.Copy(target, source)
	if closeErr := target.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Chmod(temporary, 0o755) // whatever the umask
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return fmt.Errorf("copying this program to %s: %w", path, err)
	}
	return nil
}
