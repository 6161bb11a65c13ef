package repository

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"modelmanager.dev"
)

func git(t *testing.T, dir string, arguments ...string) string {
	t.Helper()
	command := exec.Command("git", arguments...)
	command.Dir = dir
	command.Env = append(os.Environ(), "GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada",
		"GIT_COMMITTER_EMAIL=ada@example.org", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1")
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("git %q: %v\n%s", arguments, err, output)
	}
	return strings.TrimSpace(string(output))
}

func write(t *testing.T, name, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func TestCheckOut(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	git(t, dir, "init", "-q", "-b", "main", ".")
	// A filter of the repository's own configuration, and a hook, that would leave a trace.
	trace := filepath.Join(t.TempDir(), "trace")
	git(t, dir, "config", "filter.x.smudge", "touch "+trace+"; cat")
	git(t, dir, "config", "filter.x.clean", "cat")
	git(t, dir, "config", "core.fsmonitor", "touch "+trace)
	write(t, filepath.Join(dir, ".git/hooks/post-checkout"), "#!/bin/sh\ntouch "+trace+"\n", 0o755)
	write(t, filepath.Join(dir, ".gitattributes"), "*.txt filter=x eol=crlf\n", 0o644)
	write(t, filepath.Join(dir, "m/a.txt"), "one\n", 0o644)
	write(t, filepath.Join(dir, "m/run"), "x", 0o755)
	write(t, filepath.Join(dir, "m/with\nbreak ü/-x"), "odd", 0o644)
	write(t, filepath.Join(dir, "mm/b"), "not asked for", 0o644)
	pointer := pointerBegin + "oid sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\nsize 3\n"
	write(t, filepath.Join(dir, "m/large"), pointer, 0o644)
	write(t, filepath.Join(dir, "m/missing"), strings.Replace(pointer, "2c26", "3c26", 1), 0o644)
	write(t, filepath.Join(dir, ".git/lfs/objects/2c/26/2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"), "foo", 0o644)
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "m/link")); err != nil {
		t.Fatal(err)
	}
	git(t, dir, "add", "-A")
	git(t, dir, "update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("1", 40)+",m/sub")
	git(t, dir, "commit", "-qm", "x")
	os.Remove(trace)

	r, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	head, err := r.Resolve(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	submodules, err := r.CheckOut(t.Context(), head.Tree, []string{"m"}, out)
	if err != nil || !slices.Equal(submodules, []string{"m/sub"}) {
		t.Fatal(submodules, err)
	}
	for name, want := range map[string]string{"m/a.txt": "one\n", "m/with\nbreak ü/-x": "odd", "m/large": "foo", "m/missing": strings.Replace(pointer, "2c26", "3c26", 1)} {
		if got, err := os.ReadFile(filepath.Join(out, name)); err != nil || string(got) != want {
			t.Errorf("%q is %q, not %q (%v)", name, got, want, err)
		}
	}
	if info, err := os.Stat(filepath.Join(out, "m/run")); err != nil || info.Mode()&0o111 == 0 {
		t.Error("the program can't be run", err)
	}
	if to, err := os.Readlink(filepath.Join(out, "m/link")); err != nil || to != "/etc/passwd" {
		t.Error(to, err)
	}
	if _, err := os.Stat(filepath.Join(out, "mm")); !os.IsNotExist(err) {
		t.Error("a folder whose name only begins alike was checked out", err)
	}
	if err := r.DiffWorkTree(t.Context(), head.Tree, func(PathChange) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(trace); !os.IsNotExist(err) {
		t.Error("something of the repository's was run", err)
	}
}

// A tree can be made by hand to hold a link and, under the same name, a folder.
func TestCommit(t *testing.T) {
	dir := t.TempDir()
	git(t, dir, "init", "-q", "-b", "main", ".")
	for message, approvedBy := range map[string]string{
		"no trailer": "",
		"a change\n\nApproved-by: Bea <bea@example.org>\n":                                      "Bea <bea@example.org>",
		"a merge\n\nWhy it is needed.\n\nReviewed-by: Bea\nSigned-off-by: Cy\napproved-by: Dee": "Bea, Dee",
		"Approved-by: nobody, since this is the subject":                                        "",
	} {
		git(t, dir, "commit", "-q", "--allow-empty", "-m", message)
		r, err := Open(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		commit, err := r.Resolve(t.Context(), "HEAD")
		subject, _, _ := strings.Cut(message, "\n")
		if err != nil || commit.Author != "Ada" || commit.Subject != subject || commit.ApprovedBy != approvedBy {
			t.Errorf("%q was read as %+v (%v)", message, commit, err)
		}
	}
}

func TestCheckOutStaysInItsFolder(t *testing.T) {
	dir, out, outside := t.TempDir(), t.TempDir(), t.TempDir()
	git(t, dir, "init", "-q", "-b", "main", ".")
	hash := func(content string) string {
		write(t, filepath.Join(dir, "x"), content, 0o644)
		return git(t, dir, "hash-object", "-w", "x")
	}
	tree := func(entries string) string {
		command := exec.Command("git", "-C", dir, "mktree")
		command.Stdin = strings.NewReader(entries)
		output, err := command.Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(output))
	}
	inner := tree("100644 blob " + hash("pwned") + "\tfile\n")
	evil := tree("120000 blob " + hash(outside) + "\tm\n040000 tree " + inner + "\tm\n")
	r, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.CheckOut(t.Context(), evil, []string{"."}, out)
	if entries, _ := os.ReadDir(outside); len(entries) > 0 {
		t.Fatalf("it wrote %s outside of its folder (%v)", entries, err)
	}
	if err == nil {
		t.Error("nothing was said about it")
	}
}

func TestMirror(t *testing.T) {
	dir := t.TempDir()
	git(t, dir, "init", "-q", "-b", "main", ".")
	git(t, dir, "commit", "-qm", "one", "--allow-empty")
	m := Mirror{URL: dir, Branch: "main", Dir: filepath.Join(t.TempDir(), "mirror")}
	for _, wrong := range []Mirror{{URL: "--upload-pack=x", Branch: "main"}, {URL: "x", Branch: "a..b"}, {URL: "x", Branch: "a b"}, {URL: "", Branch: "main"}} {
		if err := wrong.Check(t.Context()); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
	var before string
	for range 2 { // anew, and again after it was damaged
		r, head, err := m.Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, known, err := r.Published(t.Context()); known || err != nil {
			t.Fatal(known, err)
		}
		if err := r.SetPublished(t.Context(), head); err != nil {
			t.Fatal(err)
		}
		if commit, known, err := r.Published(t.Context()); !known || err != nil || commit.ID != head.ID {
			t.Fatal(commit, known, err)
		}
		if now, err := m.Head(t.Context()); err != nil || now != head.ID {
			t.Fatal(now, err)
		}
		before = head.ID
		if err := os.Remove(filepath.Join(m.Dir, "HEAD")); err != nil {
			t.Fatal(err)
		}
	}
	git(t, dir, "commit", "-qm", "two", "--allow-empty", "--amend") // history rewritten
	if _, head, err := m.Fetch(t.Context()); err != nil || head.ID == before {
		t.Fatal(head, err)
	}
	m.Branch = "other"
	if _, err := m.Head(t.Context()); modelmanager.CodeOf(err) != modelmanager.CodeNotFound {
		t.Error(err)
	}
	if _, err := (Mirror{URL: "ext::sh -c 'touch /tmp/x'", Branch: "main", Dir: m.Dir}).Head(t.Context()); err == nil {
		t.Error("an address that runs a program was taken")
	}
}

func TestWithoutSecret(t *testing.T) {
	for address, want := range map[string]string{
		"https://ada:secret@git.example.org/a.git": "https://git.example.org/a.git",
		"https://git.example.org/a@b":              "https://git.example.org/a@b",
		"git@git.example.org:a.git":                "git@git.example.org:a.git",
		"/srv/models.git":                          "/srv/models.git",

		"https://user:token@git.example.org/team/models.git": "https://git.example.org/team/models.git",
		"https://git.example.org/team/models.git":            "https://git.example.org/team/models.git",
		"git@git.example.org:team/models.git":                "git@git.example.org:team/models.git",
	} {
		if got := WithoutSecret(address); got != want {
			t.Errorf("%s becomes %s, not %s", address, got, want)
		}
	}
}
