package buildkit

import (
	"crypto/rand"
	"fmt"
	"io/fs"
	"time"

	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
)

// fileTime is that of all files that steps see: early, but not before the years
// that archives of the ZIP format know.
var fileTime = time.Date(1980, time.January, 2, 0, 0, 0, 0, time.UTC).UnixNano()

// contextOf is a folder as steps see it: the same on every machine, whoever owns
// the files, whatever the mask of new files is, and whenever they were written.
func contextOf(dir string) (fsutil.FS, error) {
	files, err := fsutil.NewFS(dir)
	if err != nil {
		return nil, fmt.Errorf("reading its folder: %w", err)
	}
	return fsutil.NewFilterFS(files, &fsutil.FilterOpt{Map: func(_ string, file *types.Stat) fsutil.MapResult {
		file.Uid, file.Gid, file.ModTime, file.Xattrs = 0, 0, fileTime, nil
		mode := fs.FileMode(file.Mode)
		switch {
		case mode&fs.ModeSymlink != 0:
		case mode.IsDir() || mode&0o111 != 0:
			file.Mode = uint32(mode.Type() | 0o755)
		default:
			file.Mode = uint32(mode.Type() | 0o644)
		}
		return fsutil.MapResultKeep
	}})
}

// newKey names a context. The daemon compares a context with the last one of the
// same name by size and time alone, and files here have no times that tell them
// apart: so that no two have the same name.
func newKey() string { return rand.Text() }
