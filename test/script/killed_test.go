package script

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"modelmanager.dev/test/program"
)

// killed is a server, and repositories that are published to it.
type killed struct {
	t       *testing.T
	server  string
	witness *program.Witness
}

func (k *killed) command(dir, server string, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(k.t.Context(), arguments[0], arguments[1:]...)
	if arguments[0] == "mm" {
		command.Path, command.Err = mm, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		k.t.Fatal(err)
	}
	command.Dir = dir
	command.Env = append(os.Environ(), "MM_SERVER="+server, "XDG_CACHE_HOME="+filepath.Join(cache, "modelmanager-test"),
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.org",
		"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1")
	return command
}

func (k *killed) run(dir string, arguments ...string) string {
	k.t.Helper()
	output, err := k.command(dir, k.server, arguments...).CombinedOutput()
	if err != nil {
		k.t.Fatalf("%q: %v\n%s", arguments, err, output)
	}
	return string(output)
}

// serve starts a real server, which ends with the test.
func (k *killed) serve() {
	k.t.Helper()
	command := k.command(k.t.TempDir(), "", "mm")
	server, err := program.Start(k.t.Context(), program.Options{
		MM: mm, Dir: command.Dir, Data: "data", Log: filepath.Join(command.Dir, "server.log"), Env: command.Env,
	})
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { <-server.Ended() }) // the test's context has ended it
	k.server = server.URL
	k.witness = program.NewWitness(k.t, k.server)
}

// repository makes one with two commits, the first of which is published: the
// second changes a model, adds one and removes one.
func (k *killed) repository(suffix string) (dir string) {
	dir = k.t.TempDir()
	model := func(name string, factor int) {
		folder := filepath.Join(dir, name)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			k.t.Fatal(err)
		}
		for file, text := range map[string]string{
			"model.yaml": "name: " + name + suffix + "\nsummary: Some times the number.\nowner: tests@example.org\nfeatures: [{name: x, type: integer}]\n" +
				"predictions: [{name: y, type: integer}]\nrun: {python: predict.py:predict}\nexamples: [{features: {x: 2}}]\n",
			"predict.py": fmt.Sprintf("def predict(rows: list):\n    return [%d * row[\"x\"] for row in rows]\n", factor),
		} {
			if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0o644); err != nil {
				k.t.Fatal(err)
			}
		}
	}
	k.run(dir, "git", "init", "-q", "-b", "main", ".")
	k.run(dir, "git", "remote", "add", "origin", "https://git.example.org/models.git")
	model("changed", 2)
	model("gone", 2)
	k.run(dir, "git", "add", "-A")
	k.run(dir, "git", "commit", "-qm", "first")
	k.run(dir, "mm", "publish", "--since", strings.Repeat("0", 40))
	model("changed", 3)
	model("new", 3)
	k.run(dir, "git", "rm", "-rq", "gone")
	k.run(dir, "git", "add", "-A")
	k.run(dir, "git", "commit", "-qm", "second")
	return dir
}

// state says what the server has of a repository's models: versions, and each
// setting of traffic.
func (k *killed) state(suffix string) string {
	k.t.Helper()
	var all strings.Builder
	for _, name := range []string{"changed", "gone", "new"} {
		var versions struct {
			Versions []struct{ Version int }
		}
		var history struct {
			History []struct {
				Versions []struct{ Version, Percent int }
			}
		}
		for _, ask := range []struct {
			into    any
			command []string
		}{
			{&versions, []string{"mm", "models", "versions", name + suffix, "-o", "json"}},
			{&history, []string{"mm", "models", "traffic", name + suffix, "--history", "-o", "json"}},
		} {
			if err := json.Unmarshal([]byte(k.run(".", ask.command...)), ask.into); err != nil {
				k.t.Fatal(err)
			}
		}
		fmt.Fprintf(&all, "%s: versions %v, traffic %v\n", name, versions.Versions, history.History)
	}
	return all.String()
}

// TestPublishKilledAndRunAgain kills mm publish, by the signal that nothing can
// catch, at every call by which it changes something.
func TestPublishKilledAndRunAgain(t *testing.T) {
	k := &killed{t: t}
	k.serve()
	publish := []string{"mm", "publish", "--since", "HEAD~1"}
	dir := k.repository("-0")
	if output, err := k.command(dir, k.witness.URL, publish...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	want, calls := k.state("-0"), k.witness.Calls()
	if calls != 7 { // changed and new: upload, publish, roll out; gone: retire
		t.Fatalf("%d calls change something, not 7:\n%s", calls, want)
	}
	for _, after := range []bool{false, true} {
		for at := 1; at <= calls; at++ {
			suffix := fmt.Sprintf("-%t-%d", after, at)
			dir := k.repository(suffix)
			command := k.command(dir, k.witness.URL, publish...)
			k.witness.Kills(command, at, after)
			output, _ := command.CombinedOutput()
			if !program.Killed(command) {
				t.Fatalf("at call %d it wasn't killed: %s\n%s", at, command.ProcessState, output)
			}
			k.run(dir, publish...)
			if got := k.state(suffix); got != want {
				t.Errorf("killed at call %d (done: %t), and run again:\n%swant\n%s", at, after, got, want)
			}
		}
	}
}
