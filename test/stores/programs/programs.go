// Package programs keeps the servers that tests of object storage run against.
// Each is pinned by a module of its own, apart from the project's, in the folder
// of its name; the hash of the module's files is part of where the built
// program is kept.
package programs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"modelmanager.dev/test/module"
)

// The programs.
const (
	VersityGW = "versitygw"       // S3
	FakeGCS   = "fake-gcs-server" // Google Cloud Storage
	Azurite   = "azurite"         // Azure Blob Storage; runs in node
)

// Names lists all of them.
func Names() []string { return []string{VersityGW, FakeGCS, Azurite} }

// packages says what to build in a module.
func packages(name string) string {
	if name == VersityGW {
		return "github.com/versity/versitygw/cmd/versitygw"
	}
	return "github.com/fsouza/fake-gcs-server"
}

// folder is where a program of exactly these module files is kept.
func folder(name string) (string, error) {
	files, err := moduleFiles(name)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	for _, file := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(hash, "%s %d\n%s", file, len(files[file]), files[file])
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, "model-manager", "stores", name+"-"+hex.EncodeToString(hash.Sum(nil))[:16]), nil
}

// Command returns how to start a program; an error that says so if it isn't
// installed.
func Command(name string, arguments ...string) (*exec.Cmd, error) {
	dir, err := folder(name)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, name)
	if name == Azurite {
		path = filepath.Join(dir, "node_modules", "azurite", "dist", "src", "blob", "main.js")
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%s isn't installed: run scripts/setup, or go run ./test/stores/install", name)
	}
	if name == Azurite {
		return exec.Command("node", append([]string{path}, arguments...)...), nil
	}
	return exec.Command(path, arguments...), nil
}

// Install builds a program, or downloads what it needs, unless it is there.
func Install(name string) error {
	dir, err := folder(name)
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
	files, err := moduleFiles(name)
	if err != nil {
		return err
	}
	for file, data := range files {
		if err := os.WriteFile(filepath.Join(temp, file), data, 0o644); err != nil {
			return err
		}
	}
	command := exec.Command("go", "build", "-o", name, packages(name))
	if name == Azurite {
		command = exec.Command("npm", "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error")
	}
	command.Dir, command.Stdout, command.Stderr = temp, os.Stdout, os.Stderr
	command.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off", "CGO_ENABLED=0")
	if err := command.Run(); err != nil {
		return fmt.Errorf("installing %s with %q: %w", name, strings.Join(command.Args, " "), err)
	}
	if err := os.Rename(temp, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		if _, there := os.Stat(dir); there != nil {
			return err
		}
	}
	return nil
}

func moduleFiles(name string) (map[string][]byte, error) {
	sources, err := module.Path("test", "stores", "programs", name)
	if err != nil {
		return nil, err
	}
	source := os.DirFS(sources)
	entries, err := fs.ReadDir(source, ".")
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte)
	for _, entry := range entries {
		if !entry.Type().IsRegular() {
			continue
		}
		if files[entry.Name()], err = fs.ReadFile(source, entry.Name()); err != nil {
			return nil, err
		}
	}
	return files, nil
}
