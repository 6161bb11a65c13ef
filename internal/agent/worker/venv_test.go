package worker_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

var scientificPython = sync.OnceValues(makeVenv)

// scientific returns a Python with pandas and pyarrow, in an environment that
// is made once and kept in the user's cache.
func scientific(t testing.TB) string {
	t.Helper()
	path, err := scientificPython()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func makeVenv() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "modelmanager-test", "venv-1")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	interpreter := filepath.Join(dir, "venv", "bin", "python")
	if _, err := os.Stat(filepath.Join(dir, "done")); err == nil {
		return interpreter, nil
	}
	for _, command := range [][]string{
		{"python3", "-m", "venv", "--clear", filepath.Join(dir, "venv")},
		{interpreter, "-m", "pip", "install", "--quiet", "pandas", "pyarrow", "scikit-learn"},
	} {
		if output, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%v: %w: %s", command, err, output)
		}
	}
	return interpreter, os.WriteFile(filepath.Join(dir, "done"), nil, 0o600)
}
