// Package module finds this module's own files, for tests and their tools,
// wherever in the module they run and however they were compiled.
package module

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// Path returns where a file or folder of the module is, from the module's root.
func Path(elem ...string) (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(data, []byte("module modelmanager.dev\n")) {
			return filepath.Join(dir, filepath.Join(elem...)), nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s isn't in the module modelmanager.dev", start)
		}
	}
}
