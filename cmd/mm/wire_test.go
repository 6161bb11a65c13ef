package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"modelmanager.dev"
)

func TestTheSecretIsMadeOnceAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	first, err := secret(path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := secret(path)
	if err != nil || !bytes.Equal(first, second) || len(first) != secretSize {
		t.Errorf("%x, then %x, %v", first, second, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v: others can read it", info, err)
	}
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := secret(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged secret was taken: %v", err)
	}
}

func TestSecretsOfModelsComeFromFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "feature-store"), []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	read := secretsIn(dir)
	if value, err := read(t.Context(), "feature-store"); err != nil || value != "s3cret" {
		t.Errorf("%q, %v", value, err)
	}
	if _, err := read(t.Context(), "missing"); modelmanager.CodeOf(err) != modelmanager.CodeNotFound {
		t.Errorf("%v", err)
	}
	if value, err := read(t.Context(), "../"+filepath.Base(dir)+"/feature-store"); err == nil {
		t.Errorf("a path out of the folder gave %q", value)
	}
}

func TestTheLargestUploadIsWrittenAsASize(t *testing.T) {
	for text, want := range map[string]int64{"": 1 << 40, "10Gi": 10 << 30, "1.5G": 1.5e9} {
		command := newServe()
		var args []string
		if text != "" {
			args = []string{"--max-upload", text}
		}
		if err := command.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		if flag, ok := command.Flags().Lookup("max-upload").Value.(*size); !ok || flag.bytes != want {
			t.Errorf("%q: %+v", text, flag)
		}
	}
	if err := newServe().ParseFlags([]string{"--max-upload", "10GB"}); err == nil || !strings.Contains(err.Error(), "did you mean 10Gi?") {
		t.Errorf("%v", err)
	}
}
