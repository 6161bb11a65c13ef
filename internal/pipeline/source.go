package pipeline

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/repository"
)

// SourceOf says where a folder comes from, as far as git knows: its
// repository, the commit that last changed it, its path. A folder with
// uncommitted changes has no commit; one outside of git has nothing.
func SourceOf(ctx context.Context, dir string) modelmanager.Source {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	git := func(arguments ...string) string {
		command := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, arguments...)...)
		output, err := command.Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(output))
	}
	var source modelmanager.Source
	top := git("rev-parse", "--show-toplevel")
	if top == "" {
		return source
	}
	if absolute, err := filepath.Abs(dir); err == nil {
		if path, err := filepath.Rel(top, absolute); err == nil && !strings.HasPrefix(path, "..") {
			source.Path = filepath.ToSlash(path)
		}
	}
	source.Repository = repository.WithoutSecret(git("config", "--get", "remote.origin.url"))
	if git("status", "--porcelain", "--", ".") == "" {
		source.Commit = git("log", "-1", "--format=%H", "--", ".")
		source.Author = git("log", "-1", "--format=%an", "--", ".")
	}
	return source
}
