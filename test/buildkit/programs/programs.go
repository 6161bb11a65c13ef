// Package programs builds the BuildKit daemon that tests run against. It is
// pinned by a module of its own, apart from the project's; the hash of the
// module's files is part of where the built program is kept.
package programs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"modelmanager.dev/test/module"
)

const (
	daemon  = "buildkitd"
	pkgPath = "github.com/moby/buildkit/cmd/buildkitd"
)

// Path is where the daemon is; an error that says so if it isn't installed.
func Path() (string, error) {
	dir, _, err := folder()
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, daemon)
	if _, err := os.Stat(file); err != nil {
		return "", fmt.Errorf("%s isn't installed: run scripts/setup, or go run ./test/buildkit/install", daemon)
	}
	return file, nil
}

// folder is where the daemon of exactly these module files is kept.
func folder() (dir string, files map[string][]byte, err error) {
	sources, err := module.Path("test", "buildkit", "programs", daemon)
	if err != nil {
		return "", nil, err
	}
	files = map[string][]byte{}
	hash := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(sources, name))
		if err != nil {
			return "", nil, err
		}
		files[name] = data
		fmt.Fprintf(hash, "%s %d\n%s", name, len(data), data)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", nil, err
	}
	return filepath.Join(cache, "model-manager", "buildkit", daemon+"-"+hex.EncodeToString(hash.Sum(nil))[:16]), files, nil
}

// Install builds the daemon, unless it is there.
func Install() error {
	dir, files, err := folder()
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(temp, name), data, 0o644); err != nil {
			return err
		}
	}
	command := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", daemon, pkgPath)
	command.Dir, command.Stdout, command.Stderr = temp, os.Stdout, os.Stderr
	command.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off", "CGO_ENABLED=0")
	if err := command.Run(); err != nil {
		return fmt.Errorf("installing %s with %q: %w", daemon, strings.Join(command.Args, " "), err)
	}
	if err := os.Rename(temp, dir); err != nil {
		if _, there := os.Stat(dir); there != nil {
			return err
		}
	}
	return nil
}
