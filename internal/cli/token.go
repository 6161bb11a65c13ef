package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/client"
)

// credentials are the ways to get a token; the first that is set is used.
type credentials struct {
	token, file, command string
}

// tokenVariable has a token.
const tokenVariable = "MM_TOKEN"

// fromEnvironment fills in what no flag has said.
func (c *credentials) fromEnvironment() {
	if c.token != "" || c.file != "" {
		return
	}
	c.token, c.file, c.command = os.Getenv(tokenVariable), os.Getenv("MM_TOKEN_FILE"), os.Getenv("MM_TOKEN_COMMAND")
}

func (c *credentials) source(streams Streams) client.TokenSource {
	switch {
	case c.token != "":
		return func(context.Context) (string, error) { return c.token, nil }
	case c.file != "":
		return client.TokenFile(c.file)
	case c.command != "":
		return (&tokenCommand{line: c.command, streams: streams}).get
	}
	return func(context.Context) (string, error) { return "", nil }
}

// tokenCommand is a command line that prints a token, which is kept until
// shortly before its end.
type tokenCommand struct {
	line    string
	streams Streams

	mu    sync.Mutex
	token string
	until time.Time
}

// How long a token of a command is used.
const (
	spare   = 30 * time.Second // before its end
	unknown = time.Minute      // when it doesn't say when it ends
)

func (t *tokenCommand) get(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Now().Before(t.until) {
		return t.token, nil
	}
	command := exec.CommandContext(ctx, "sh", "-c", t.line)
	command.Stdin, command.Stderr = t.streams.In, t.streams.Err // it may ask for a password
	output, err := command.Output()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		return "", modelmanager.Errorf(modelmanager.CodeUnauthenticated, "getting a token by $MM_TOKEN_COMMAND: %w", err)
	}
	token, end := readToken(output)
	if token == "" {
		return "", modelmanager.Errorf(modelmanager.CodeUnauthenticated, "getting a token by $MM_TOKEN_COMMAND: it printed none")
	}
	t.token, t.until = token, time.Now().Add(unknown)
	if !end.IsZero() {
		t.until = end.Add(-spare)
	}
	return token, nil
}

// readToken reads a token as it is, or in an ExecCredential as credential
// plugins of kubectl print it, and when it ends.
func readToken(output []byte) (token string, end time.Time) {
	output = bytes.TrimSpace(output)
	if !bytes.HasPrefix(output, []byte("{")) {
		token = string(output)
		return token, endOf(token)
	}
	var credential struct {
		Status struct {
			Token string    `json:"token"`
			End   time.Time `json:"expirationTimestamp"`
		} `json:"status"`
	}
	if json.Unmarshal(output, &credential) != nil {
		return "", time.Time{}
	}
	if end = credential.Status.End; end.IsZero() {
		end = endOf(credential.Status.Token)
	}
	return credential.Status.Token, end
}

// endOf is when a JSON Web Token says that it ends; zero if it doesn't.
func endOf(token string) time.Time {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	data, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		End float64 `json:"exp"`
	}
	if json.Unmarshal(data, &claims) != nil || claims.End <= 0 {
		return time.Time{}
	}
	return time.Unix(int64(claims.End), 0)
}
