// Package script runs scripts that a user could read (testdata/*.txtar) against
// the real program: bin/mm, its server, its agents, real interpreters.
package script

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"modelmanager.dev/internal/cli"
)

var update = flag.Bool("update", false, "write what commands print into the scripts")

// program is the folder that mm was built into.
var program string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "mm-script-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-o", dir, "modelmanager.dev/cmd/mm")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building mm:", err)
		return 1
	}
	program = dir
	return m.Run()
}

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
			env.Setenv("PATH", program+string(os.PathListSeparator)+os.Getenv("PATH"))
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
			if err != nil && os.Getenv("MM_TEST_NO_SKIP") == "1" {
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

// server is the mm serve of a script.
type server struct {
	command *exec.Cmd
	ended   chan struct{} // closed when it has ended
	err     error         // then: how
}

// signalAndWait ends a server; it is killed if it doesn't end.
func (s *server) signalAndWait(signal os.Signal) error {
	if err := s.command.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.ended:
		return nil
	case <-time.After(60 * time.Second):
		s.command.Process.Kill()
		return errors.New("the server did not end within a minute")
	}
}

// servers are the running servers of scripts, by their work folders.
var servers = map[*testscript.TestScript]*server{}

// serve starts mm serve with more flags, waits until it listens, and sets
// MM_SERVER. Its data is in $WORK/data, its log in $WORK/server.log.
func serve(ts *testscript.TestScript, negated bool, args []string) {
	if negated {
		ts.Fatalf("serve can't be negated")
	}
	if servers[ts] != nil {
		ts.Fatalf("the server runs already")
	}
	log, err := os.OpenFile(ts.MkAbs("server.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	ts.Check(err)
	defer log.Close()
	command := exec.Command(filepath.Join(program, "mm"),
		append([]string{"serve", "--data", ts.MkAbs("data"), "--listen", "127.0.0.1:0"}, args...)...)
	command.Dir = ts.MkAbs(".")
	command.Env = append(os.Environ(), "XDG_CACHE_HOME="+ts.Getenv("XDG_CACHE_HOME"))
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	ts.Check(command.Start())
	s := &server{command: command, ended: make(chan struct{})}
	go func() {
		s.err = command.Wait()
		close(s.ended)
	}()
	servers[ts] = s
	ts.Defer(func() {
		if s := servers[ts]; s != nil {
			delete(servers, ts)
			if err := s.signalAndWait(syscall.SIGTERM); err != nil {
				ts.Logf("%v", err)
			}
		}
	})
	address := waitForAddress(ts, s)
	ts.Setenv("MM_SERVER", address)
}

func waitForAddress(ts *testscript.TestScript, s *server) string {
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		file, err := os.Open(ts.MkAbs("server.log"))
		ts.Check(err)
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			if _, rest, found := strings.Cut(lines.Text(), "listens on "); found {
				file.Close()
				return strings.Fields(rest)[0]
			}
		}
		file.Close()
		select {
		case <-s.ended:
			ts.Fatalf("the server ended (%v):\n%s", s.err, ts.ReadFile("server.log"))
		case <-time.After(20 * time.Millisecond):
		}
	}
	ts.Fatalf("the server doesn't listen:\n%s", ts.ReadFile("server.log"))
	return ""
}

// stop ends the server as Ctrl-C does, or with -9 as a crash does.
func stop(ts *testscript.TestScript, negated bool, args []string) {
	s := servers[ts]
	if s == nil || negated {
		ts.Fatalf("there is no server to stop")
	}
	delete(servers, ts)
	signal := syscall.SIGINT
	if len(args) == 1 && args[0] == "-9" {
		signal = syscall.SIGKILL
	}
	ts.Check(s.signalAndWait(signal))
	if signal == syscall.SIGINT && s.err != nil && s.command.ProcessState.ExitCode() != 130 {
		ts.Fatalf("the server ended badly: %v\n%s", s.err, ts.ReadFile("server.log"))
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
