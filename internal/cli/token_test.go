package cli

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/problem"
)

// listModels runs mm models list against a server, and returns the tokens that
// it was sent, and what mm said.
func listModels(t *testing.T, args ...string) (sent []string, said string, err error) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := r.Header.Get("Authorization")
		sent = append(sent, strings.TrimPrefix(token, "Bearer "))
		if token == "" {
			problem.Write(w, modelmanager.Errorf(modelmanager.CodeUnauthenticated, "this server needs a token"))
			return
		}
		fmt.Fprint(w, `{"models": []}`)
	}))
	defer server.Close()
	var out strings.Builder
	root := NewRoot(Streams{In: strings.NewReader(""), Out: io.Discard, Err: &out})
	root.SetArgs(append([]string{"--server", server.URL, "models", "list"}, args...))
	err = root.ExecuteContext(t.Context())
	if err != nil {
		PrintError(&out, err)
	}
	return sent, out.String(), err
}

func TestWhereTheTokenComesFrom(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("of the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	unset := func() {
		for _, name := range []string{"MM_TOKEN", "MM_TOKEN_FILE", "MM_TOKEN_COMMAND"} {
			t.Setenv(name, "")
		}
	}
	for want, set := range map[string]func() []string{
		"of the flag": func() []string { t.Setenv("MM_TOKEN", "x"); return []string{"--token", "of the flag"} },
		"of the file": func() []string { t.Setenv("MM_TOKEN", "x"); return []string{"--token-file", file} },
		"of the environment": func() []string {
			t.Setenv("MM_TOKEN", "of the environment")
			t.Setenv("MM_TOKEN_FILE", file)
			return nil
		},
		"of a command": func() []string { t.Setenv("MM_TOKEN_COMMAND", "echo of a $(echo command)"); return nil },
	} {
		unset()
		sent, said, err := listModels(t, set()...)
		if err != nil || len(sent) != 1 || sent[0] != want {
			t.Errorf("%q was sent, want %q; %v %s", sent, want, err, said)
		}
	}
	unset()
	t.Setenv("MM_TOKEN_FILE", file)
	if sent, _, err := listModels(t); err != nil || sent[0] != "of the file" {
		t.Errorf("%q %v", sent, err)
	}
}

func TestWithoutAToken(t *testing.T) {
	for _, name := range []string{"MM_TOKEN", "MM_TOKEN_FILE", "MM_TOKEN_COMMAND"} {
		t.Setenv(name, "")
	}
	if _, said, err := listModels(t); ExitCode(err) != ExitFailed || !strings.Contains(said, "needs a token") || !strings.Contains(said, "--token-file") {
		t.Errorf("%s %v", said, err)
	}
	if _, _, err := listModels(t, "--token", "a", "--token-file", "b"); ExitCode(err) != ExitUsage {
		t.Errorf("%v", err)
	}
	for command, word := range map[string]string{"echo why >&2; exit 3": "why", "true": "printed none", "echo '{}'": "printed none", "echo '{'": "printed none"} {
		t.Setenv("MM_TOKEN_COMMAND", command)
		if sent, said, err := listModels(t); ExitCode(err) != ExitFailed || len(sent) != 0 || !strings.Contains(said, word) {
			t.Errorf("%s: %q %s %v", command, sent, said, err)
		}
	}
}

func TestTokensOfCommands(t *testing.T) {
	end := time.Now().Add(time.Hour).Truncate(time.Second)
	jwt := "e30." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp": %d}`, end.Unix())) + ".c2ln"
	for output, want := range map[string]struct {
		token string
		end   time.Time
	}{
		"opaque\n": {"opaque", time.Time{}},
		jwt:        {jwt, end},
		`{"kind": "ExecCredential", "status": {"token": "a", "expirationTimestamp": "` + end.UTC().Format(time.RFC3339) + `"}}`: {"a", end},
		`{"kind": "ExecCredential", "status": {"token": "` + jwt + `"}}`:                                                        {jwt, end},
		"a.!.c": {"a.!.c", time.Time{}},
	} {
		if token, got := readToken([]byte(output)); token != want.token || !got.Equal(want.end) {
			t.Errorf("%s: %s %v", output, token, got)
		}
	}
	// A token that is about to end is got anew, another is kept.
	count := filepath.Join(t.TempDir(), "count")
	command := &tokenCommand{line: "echo x >> " + count + "; echo '" + jwt + "'"}
	for range 3 {
		if token, err := command.get(t.Context()); err != nil || token != jwt {
			t.Fatal(token, err)
		}
	}
	command.until = time.Now()
	if _, err := command.get(t.Context()); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(count); string(data) != "x\nx\n" {
		t.Errorf("the command ran %d times", len(data)/2)
	}
}
