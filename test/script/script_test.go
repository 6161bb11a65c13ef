// Package script runs scripts that a user could read (testdata/*.txtar) against
// the real program: bin/mm, its server, its agents, real interpreters.
package script

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"modelmanager.dev/internal/cli"
	"modelmanager.dev/test/needs"
	"modelmanager.dev/test/program"
)

var update = flag.Bool("update", false, "write what commands print into the scripts")

// mm is the program.
var mm string

func TestMain(m *testing.M) { os.Exit(program.Main(m, &mm)) }

func TestScripts(t *testing.T) {
	flag.Parse()
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			cache, err := os.UserCacheDir()
			if err != nil {
				return err
			}
			examples, err := filepath.Abs("../../examples")
			if err != nil {
				return err
			}
			env.Setenv("PATH", filepath.Dir(mm)+string(os.PathListSeparator)+os.Getenv("PATH"))
			// Environments and compilers' caches are kept between scripts.
			env.Setenv("XDG_CACHE_HOME", filepath.Join(cache, "modelmanager-test"))
			env.Setenv("GOCACHE", filepath.Join(cache, "go-build"))
			env.Setenv("EXAMPLES", examples)
			return nil
		},
		Condition: func(condition string) (bool, error) {
			name, found := strings.CutPrefix(condition, "has:")
			if !found {
				return false, fmt.Errorf("unknown condition %q", condition)
			}
			_, err := exec.LookPath(name)
			if err != nil && needs.Fails() {
				return false, fmt.Errorf("there is no %s here, and nothing may be skipped", name)
			}
			return err == nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": serve,
			"stop":  stop,
			"await": await,
			"json":  inJSON,
		},
	})
}

// servers are the running servers of scripts, which run side by side.
var servers sync.Map // of *program.Server, by their *testscript.TestScript

// serve starts mm serve with more flags, waits until it listens, and sets
// MM_SERVER. Its data is in $WORK/data, its log in $WORK/server.log.
func serve(ts *testscript.TestScript, negated bool, args []string) {
	if negated {
		ts.Fatalf("serve can't be negated")
	}
	if _, runs := servers.Load(ts); runs {
		ts.Fatalf("the server runs already")
	}
	s, err := program.Start(context.Background(), program.Options{
		MM: mm, Dir: ts.MkAbs("."), Data: ts.MkAbs("data"), Log: ts.MkAbs("server.log"), Args: args,
		Env: []string{"XDG_CACHE_HOME=" + ts.Getenv("XDG_CACHE_HOME")},
	})
	ts.Check(err)
	servers.Store(ts, s)
	ts.Defer(func() {
		if _, runs := servers.LoadAndDelete(ts); !runs {
			return // it was stopped
		}
		if err := s.Stop(syscall.SIGTERM); err != nil {
			ts.Logf("%v", err)
		}
	})
	ts.Setenv("MM_SERVER", s.URL)
}

// stop ends the server as Ctrl-C does, or with -9 as a crash does.
func stop(ts *testscript.TestScript, negated bool, args []string) {
	running, runs := servers.LoadAndDelete(ts)
	if !runs || negated {
		ts.Fatalf("there is no server to stop")
	}
	s := running.(*program.Server)
	if len(args) == 1 && args[0] == "-9" {
		ts.Check(s.Stop(syscall.SIGKILL))
		return
	}
	ts.Check(s.Stop(syscall.SIGINT))
	if code := s.ExitCode(); code != 0 && code != 130 {
		ts.Fatalf("the server ended badly, with %d:\n%s", code, s.Log())
	}
}

// await PATTERN COMMAND… runs a command until it succeeds with an output that
// matches, for at most two minutes.
func await(ts *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) < 2 {
		ts.Fatalf("usage: await PATTERN COMMAND…")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	deadline := time.Now().Add(2 * time.Minute)
	for {
		err := ts.Exec(args[1], args[2:]...)
		output := ts.ReadFile("stdout")
		if err == nil && pattern.MatchString(output) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("after two minutes %s still doesn't answer %s but (%v):\n%s%s",
				strings.Join(args[1:], " "), args[0], err, output, ts.ReadFile("stderr"))
		}
		<-time.After(50 * time.Millisecond)
	}
}

// inJSON runs a command of mm with -o json, which must print one JSON value and
// nothing else; one that fails may print nothing. $ID becomes the value's id.
func inJSON(ts *testscript.TestScript, negated bool, args []string) {
	err := ts.Exec(args[0], append(args[1:], "-o", "json")...)
	printed := ts.ReadFile("stdout")
	switch {
	case negated && err == nil:
		ts.Fatalf("%s should fail:\n%s", strings.Join(args, " "), printed)
	case !negated && err != nil:
		ts.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, printed, ts.ReadFile("stderr"))
	case negated && printed == "":
		return
	}
	var value any
	if err := json.Unmarshal([]byte(printed), &value); err != nil {
		ts.Fatalf("%s printed no JSON: %v\n%s", strings.Join(args, " "), err, printed)
	}
	if object, ok := value.(map[string]any); ok {
		if id, ok := object["id"].(string); ok {
			ts.Setenv("ID", id)
		}
	}
}

// TestEveryCommandInJSON holds json-output.txtar against the commands that there
// are: each one that prints something is run there with -o json.
func TestEveryCommandInJSON(t *testing.T) {
	text, err := os.ReadFile("testdata/json-output.txtar")
	if err != nil {
		t.Fatal(err)
	}
	root := cli.NewRoot(cli.Streams{}) // serve and agent print logs, not results
	var visit func(*cobra.Command)
	visit = func(command *cobra.Command) {
		if command.HasSubCommands() {
			for _, sub := range command.Commands() {
				visit(sub)
			}
			return
		}
		if !regexp.MustCompile(`(?m)^json ` + command.CommandPath() + `( |$)`).Match(text) {
			t.Errorf("json-output.txtar doesn't run %s", command.CommandPath())
		}
	}
	visit(root)
}
