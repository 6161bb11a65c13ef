package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
)

// modulesFile is where a Python worker notes, in its home, which modules of
// its environment it has imported.
const modulesFile = ".modules.json"

// Bounds of what is believed of a worker's notes: it may write there what it likes.
const (
	mostModules     = 10_000
	largestNotes    = 1 << 20
	longestModule   = 200
	modulePattern   = `^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`
	notesUnreadable = "reading which modules a worker has imported: %w"
)

var moduleForm = regexp.MustCompile(modulePattern)

// ReadModules returns the modules that a Python worker says to have imported,
// in their order, nil if it has said nothing. They are names and no more: a
// zygote checks for itself that they are its environment's own.
func ReadModules(runDir string) ([]string, error) {
	file, err := os.OpenFile(filepath.Join(runDir, modulesFile), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf(notesUnreadable, err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > largestNotes {
		return nil, fmt.Errorf(notesUnreadable, errors.New("its file is none, or too large"))
	}
	data, err := io.ReadAll(io.LimitReader(file, largestNotes))
	if err != nil {
		return nil, fmt.Errorf(notesUnreadable, err)
	}
	return parseModules(data)
}

// parseModules reads {"modules": […]}, and leaves out what is no module's name.
func parseModules(data []byte) ([]string, error) {
	var notes struct {
		Modules []string `json:"modules"`
	}
	if err := json.Unmarshal(data, &notes); err != nil {
		return nil, fmt.Errorf(notesUnreadable, err)
	}
	var names []string
	for _, name := range notes.Modules[:min(len(notes.Modules), mostModules)] {
		if len(name) <= longestModule && moduleForm.MatchString(name) {
			names = append(names, name)
		}
	}
	return names, nil
}
