package repository

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modelmanager.dev"
)

// Mirror is a bare copy of one branch of a repository elsewhere. It can be
// deleted at any time, and is fetched again.
type Mirror struct {
	URL    string // as git takes it: an address, or a path
	Branch string
	Dir    string // of the copy
}

// publishedRef is the commit whose models were dealt with last.
const publishedRef = "refs/modelmanager/published"

const (
	headTimeout  = 30 * time.Second
	fetchTimeout = 30 * time.Minute
)

// Check tells whether the mirror's address and branch can be ones.
func (m Mirror) Check(ctx context.Context) error {
	if strings.HasPrefix(m.URL, "-") || strings.ContainsAny(m.URL, "\n\x00") || m.URL == "" {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "%.200q is not a repository's address", m.URL)
	}
	if _, err := run(ctx, os.TempDir(), nil, "check-ref-format", "refs/heads/"+m.Branch); err != nil {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "%.200q can't be the name of a branch", m.Branch)
	}
	return nil
}

// Head asks the repository elsewhere for the branch's newest commit. CodeNotFound:
// it has no such branch.
func (m Mirror) Head(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, headTimeout)
	defer cancel()
	output, err := run(ctx, os.TempDir(), nil, "ls-remote", "--", m.URL, "refs/heads/"+m.Branch)
	if err != nil {
		return "", m.failed("looking at", err)
	}
	hash, _, _ := strings.Cut(string(output), "\t")
	if !isHash(hash) {
		return "", modelmanager.Errorf(modelmanager.CodeNotFound, "%s has no branch %s", WithoutSecret(m.URL), m.Branch)
	}
	return hash, nil
}

func (m Mirror) failed(what string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return modelmanager.Errorf(modelmanager.CodeUnavailable, "%s %s took too long", what, WithoutSecret(m.URL))
	}
	text := strings.ReplaceAll(err.Error(), m.URL, WithoutSecret(m.URL))
	return &modelmanager.Error{Code: modelmanager.CodeUnavailable, Detail: fmt.Sprintf("%s %s: %s", what, WithoutSecret(m.URL), text), Err: err}
}

// Fetch brings the branch's commits, and returns the copy and its newest commit.
// A copy that can't be read is made anew.
func (m Mirror) Fetch(ctx context.Context) (*Repository, Commit, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	r, err := m.open(ctx)
	if err != nil {
		return nil, Commit{}, err
	}
	ref := "refs/heads/" + m.Branch
	if _, err := r.git(ctx, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--recurse-submodules=no", "--force", "--", m.URL, "+"+ref+":"+ref); err != nil {
		return nil, Commit{}, m.failed("fetching", err)
	}
	head, err := r.Resolve(ctx, ref)
	return r, head, err
}

func (m Mirror) open(ctx context.Context) (*Repository, error) {
	if r, err := Open(ctx, m.Dir); err == nil {
		if real, err := filepath.EvalSymlinks(m.Dir); err == nil && sameFile(r.GitDir, real) {
			return r, nil
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err := os.RemoveAll(m.Dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(m.Dir, 0o700); err != nil {
		return nil, err
	}
	if _, err := run(ctx, m.Dir, nil, "init", "--quiet", "--bare", "--template=", "."); err != nil {
		return nil, fmt.Errorf("making a copy of %s: %w", WithoutSecret(m.URL), err)
	}
	return Open(ctx, m.Dir)
}

// sameFile tells whether two paths are one: Open finds a repository further up,
// too, when the copy is none.
func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// Published is the commit whose models were dealt with last; Nothing, and
// false, if the copy is new.
func (r *Repository) Published(ctx context.Context) (Commit, bool, error) {
	commit, err := r.Resolve(ctx, publishedRef)
	if modelmanager.CodeOf(err) == modelmanager.CodeNotFound {
		return Nothing(), false, nil
	}
	return commit, err == nil, err
}

// SetPublished notes that a commit's models were dealt with.
func (r *Repository) SetPublished(ctx context.Context, commit Commit) error {
	_, err := r.git(ctx, "update-ref", publishedRef, commit.ID)
	return err
}
