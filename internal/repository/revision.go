package repository

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"modelmanager.dev"
)

// Commit is one revision.
type Commit struct {
	ID      string // the commit's hash; "" of Nothing
	Tree    string // its root tree's hash
	Author  string
	When    time.Time // it was committed
	Subject string

	// ApprovedBy is what the trailers Approved-by and Reviewed-by say, "a, b".
	ApprovedBy string
}

// Nothing is the state before the first commit: an empty tree.
func Nothing() Commit { return Commit{Tree: emptyTree} }

const (
	emptyTree       = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
	emptyTreeSHA256 = "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321"
)

// IsNothing tells whether a revision is the zero hash, which git hooks and CI
// systems give for "there was nothing before".
func IsNothing(revision string) bool {
	return len(revision) >= 40 && strings.Trim(revision, "0") == ""
}

// Resolve finds the commit that a revision names: a branch, a tag, a hash, and
// what else git understands. The zero hash is Nothing. CodeNotFound if this
// clone doesn't have it.
func (r *Repository) Resolve(ctx context.Context, revision string) (Commit, error) {
	if IsNothing(revision) {
		return r.nothing(len(revision)), nil
	}
	if err := checkRevision(revision); err != nil {
		return Commit{}, err
	}
	commit, err := r.commit(ctx, revision)
	var said *gitError
	if errors.As(err, &said) && said.unknownRevision() {
		return Commit{}, r.unknown(revision)
	}
	return commit, err
}

func (r *Repository) nothing(length int) Commit {
	if length == len(emptyTreeSHA256) {
		return Commit{Tree: emptyTreeSHA256}
	}
	return Nothing()
}

// checkRevision refuses what can't be a revision, would be taken for an option, or
// names several, of which git would take one.
func checkRevision(revision string) error {
	if revision == "" || strings.HasPrefix(revision, "-") || strings.ContainsFunc(revision, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "%.200q can't be a revision; name a branch, a tag or a commit", revision)
	}
	if strings.HasPrefix(revision, "^") || strings.Contains(revision, "..") {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "%.200q is not one revision; name a branch, a tag or a commit", revision)
	}
	return nil
}

func (r *Repository) unknown(revision string) error {
	hint := "git fetch may bring it"
	if r.Shallow {
		hint = shallowHint
	} else if revision == "HEAD" {
		return modelmanager.Errorf(modelmanager.CodeNotFound, "nothing is committed yet in this repository; commit the models first")
	}
	return modelmanager.Errorf(modelmanager.CodeNotFound, "there is no revision %.200q in this clone; %s", revision, hint)
}

const shallowHint = "the clone is shallow, it has only the newest commits: " +
	"fetch all of them (GitHub: actions/checkout with fetch-depth: 0; GitLab: GIT_DEPTH: 0; by hand: git fetch --unshallow)"

// commit reads the commit that a checked revision names.
func (r *Repository) commit(ctx context.Context, revision string) (Commit, error) {
	output, err := r.git(ctx, "log", "-1", "--no-show-signature", "--no-color", "--no-mailmap", "--encoding=UTF-8",
		"--format=%H%x00%T%x00%an%x00%cI%x00%(trailers:key=Approved-by,key=Reviewed-by,valueonly,unfold,separator=%x2C )%x00%s", "--end-of-options", revision+"^{commit}", "--")
	if err != nil {
		return Commit{}, err
	}
	fields := strings.SplitN(strings.TrimSuffix(string(output), "\n"), "\x00", 6)
	if len(fields) != 6 {
		return Commit{}, modelmanager.Errorf(modelmanager.CodeInternal, "reading commit %s: git answered %.100q", revision, output)
	}
	when, err := time.Parse(time.RFC3339, fields[3])
	if err != nil {
		return Commit{}, fmt.Errorf("reading commit %s: %w", revision, err)
	}
	return Commit{ID: fields[0], Tree: fields[1], Author: fields[2], When: when, ApprovedBy: fields[4], Subject: fields[5]}, nil
}

// Trailers returns the values of a trailer (Key: value, in the last lines of a
// message) in the commits that lead from one to another, the newest first; where
// there was nothing before, in the newest alone.
func (r *Repository) Trailers(ctx context.Context, from, to Commit, key string) ([]string, error) {
	if to.ID == "" {
		return nil, nil
	}
	arguments := []string{"log", "--no-show-signature", "--no-color", "--encoding=UTF-8", "--format=%(trailers:key=" + key + ",valueonly,unfold)"}
	if from.ID == "" {
		arguments = append(arguments, "-1", to.ID, "--")
	} else {
		arguments = append(arguments, from.ID+".."+to.ID, "--")
	}
	output, err := r.git(ctx, arguments...)
	if err != nil {
		return nil, err
	}
	var values []string
	for line := range strings.Lines(string(output)) {
		if line = strings.TrimSpace(line); line != "" {
			values = append(values, line)
		}
	}
	return values, nil
}

// MergeBase is where two revisions' histories part. CodeNotFound if this clone
// knows of no such commit.
func (r *Repository) MergeBase(ctx context.Context, a, b Commit) (Commit, error) {
	if a.ID == "" || b.ID == "" {
		return r.nothing(len(a.Tree)), nil
	}
	output, err := r.git(ctx, "merge-base", a.ID, b.ID)
	if exitCode(err) == 1 {
		hint := "their histories have nothing in common"
		if r.Shallow {
			hint = shallowHint
		}
		return Commit{}, modelmanager.Errorf(modelmanager.CodeNotFound, "there is no commit from which both %.12s and %.12s come: %s", a.ID, b.ID, hint)
	}
	if err != nil {
		return Commit{}, err
	}
	return r.commit(ctx, strings.TrimSpace(string(output)))
}

// FirstParents lists the commits that lead to a revision, the oldest first; of
// merges, the line that was merged into. CodeNotFound: the clone is shallow.
func (r *Repository) FirstParents(ctx context.Context, revision string) ([]string, error) {
	if r.Shallow {
		return nil, modelmanager.Errorf(modelmanager.CodeNotFound, "the history isn't here: %s", shallowHint)
	}
	commit, err := r.Resolve(ctx, revision)
	if err != nil {
		return nil, err
	}
	output, err := r.git(ctx, "rev-list", "--first-parent", "--reverse", commit.ID, "--")
	return strings.Fields(string(output)), err
}

// Has tells whether this clone has a commit, by its hash.
func (r *Repository) Has(ctx context.Context, id string) (bool, error) {
	if !isHash(id) {
		return false, nil
	}
	_, err := r.git(ctx, "cat-file", "-e", id+"^{commit}")
	if exitCode(err) > 0 {
		return false, nil
	}
	return err == nil, err
}

// IsAncestor tells whether commit a is b, or b comes from it. Both must be here.
// In a shallow clone, false says nothing.
func (r *Repository) IsAncestor(ctx context.Context, a, b string) (bool, error) {
	if !isHash(a) || !isHash(b) {
		return false, modelmanager.Errorf(modelmanager.CodeBadRequest, "%.80q and %.80q aren't both hashes of commits", a, b)
	}
	_, err := r.git(ctx, "merge-base", "--is-ancestor", a, b)
	if exitCode(err) == 1 {
		return false, nil
	}
	return err == nil, err
}

func isHash(id string) bool {
	if len(id) != 40 && len(id) != 64 {
		return false
	}
	return strings.Trim(id, "0123456789abcdef") == ""
}

// Remote is the address that the repository was cloned from, without what is
// secret in it; "" if there is none.
func (r *Repository) Remote(ctx context.Context) string {
	output, err := r.git(ctx, "config", "--get", "remote.origin.url")
	if err != nil {
		return ""
	}
	return WithoutSecret(strings.TrimSpace(string(output)))
}

// WithoutSecret takes a user, password or token out of a repository's address.
func WithoutSecret(address string) string {
	scheme, rest, found := strings.Cut(address, "://")
	if !found {
		return address
	}
	authority, path, _ := strings.Cut(rest, "/")
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		authority = authority[at+1:]
	}
	return scheme + "://" + authority + "/" + path
}
