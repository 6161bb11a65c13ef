package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"modelmanager.dev"
	"modelmanager.dev/internal/pipeline"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/test/needs"
)

// terminal is a pseudo-terminal: what is written to the file appears to somebody
// who reads it to its end.
func terminal(t *testing.T) (file *os.File, seen func() string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		needs.Skip(t, err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	file, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&text, master) // fails once nobody has the terminal open
	}()
	return file, func() string {
		file.Close()
		<-read
		return text.String()
	}
}

// target takes uploads, and no publications.
type target struct {
	pipeline.LiveDestination // what it isn't asked for

	got bytes.Buffer
}

func (a *target) Upload(_ context.Context, _ string, data io.Reader) (modelmanager.Upload, error) {
	_, err := io.Copy(&a.got, data)
	return modelmanager.Upload{ID: "one"}, err
}

// TestLongWorkShowsItsProgress: on a terminal, on standard error, and nowhere else.
func TestLongWorkShowsItsProgress(t *testing.T) {
	data := strings.Repeat("0123456789abcde\n", 1<<14) // 256 KiB
	for name, work := range map[string]struct {
		title string
		do    func(t *testing.T, g *global) string // returns what came through
	}{
		"a result to a file": {"fetching out.csv", func(t *testing.T, g *global) string {
			path := filepath.Join(t.TempDir(), "out.csv")
			if err := g.copyTo(path, io.NopCloser(strings.NewReader(data))); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}},
		"a result to standard output": {"fetching", func(t *testing.T, g *global) string {
			if err := g.copyTo("-", io.NopCloser(strings.NewReader(data))); err != nil {
				t.Fatal(err)
			}
			return g.Out.(*bytes.Buffer).String()
		}},
		"an archive": {"uploading scorer.tar.zst", func(t *testing.T, g *global) string {
			var to target
			if _, err := (uploading{&to, g.Err}).Upload(t.Context(), "scorer.tar.zst", strings.NewReader(data)); err != nil {
				t.Fatal(err)
			}
			return to.got.String()
		}},
		"a model's file": {"fetching weights.bin", func(t *testing.T, g *global) string {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, data) }))
			defer server.Close()
			t.Setenv("XDG_CACHE_HOME", t.TempDir())
			g.from.prefixes = []string{server.URL + "/"}
			sum := sha256.Sum256([]byte(data))
			dir := t.TempDir()
			err := os.WriteFile(filepath.Join(dir, "model.yaml"), []byte(fmt.Sprintf(`name: scorer
summary: A model of the tests.
owner: tests@example.org
features: [{name: x, type: number}]
predictions: [{name: y, type: number}]
run: {command: [./model]}
files: [{path: weights.bin, uri: "%s/weights.bin", sha256: %s}]
examples: [{features: {x: 1}}]
`, server.URL, hex.EncodeToString(sum[:]))), 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "model"), []byte("#!/bin/sh\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			folder, err := spec.LoadFolder(dir)
			if err != nil {
				t.Fatal(err)
			}
			options := g.options()
			options.Progress = nil
			prepared, err := pipeline.Prepare(t.Context(), folder, options)
			if err != nil {
				t.Fatal(err)
			}
			defer prepared.Close()
			text, err := os.ReadFile(filepath.Join(prepared.Dir, "weights.bin"))
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			tty, seen := terminal(t)
			g := &global{Streams: Streams{Out: new(bytes.Buffer), Err: tty}}
			if work.do(t, g) != data {
				t.Error("what came through is something else")
			}
			if text := seen(); !strings.Contains(text, work.title) || !strings.Contains(text, "B") {
				t.Errorf("the terminal shows %q, want %q", text, work.title)
			}
			var quiet bytes.Buffer
			if work.do(t, &global{Streams: Streams{Out: new(bytes.Buffer), Err: &quiet}}); quiet.Len() > 0 {
				t.Errorf("where no terminal is, %q is written", quiet.String())
			}
		})
	}
}
