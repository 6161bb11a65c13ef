package archive_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/archive"
)

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func pack(t *testing.T, dir string) (data []byte, digest string) {
	t.Helper()
	files, err := archive.List(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	digest, err = archive.Write(&out, files)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), digest
}

func TestRoundTrip(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	files := map[string]string{"model.yaml": "name: a\n", "sub/deep/weights.bin": strings.Repeat("0123456789", 100_000), "empty": "", "ünï cödé.txt": "x"}
	write(t, a, files)
	write(t, b, files)
	for _, dir := range []string{a, b} {
		if err := os.Symlink("deep/weights.bin", filepath.Join(dir, "sub", "link")); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, "model.yaml"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(b, "empty"), old, old); err != nil {
		t.Fatal(err)
	}
	one, digest := pack(t, a)
	other, _ := pack(t, b)
	if !bytes.Equal(one, other) {
		t.Error("the same files at other times give other bytes")
	}
	sum := sha256.Sum256(one)
	if want := "sha256:" + hex.EncodeToString(sum[:]); digest != want {
		t.Errorf("the digest is %s, want that of the bytes, %s", digest, want)
	}

	out := filepath.Join(t.TempDir(), "out")
	for range 2 { // the second finds it there
		if err := archive.Extract(t.Context(), bytes.NewReader(one), out, digest, archive.Limits{}); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(out, name))
		if err != nil || string(got) != want {
			t.Errorf("%s: %v, or another content", name, err)
		}
	}
	if target, err := os.Readlink(filepath.Join(out, "sub", "link")); err != nil || target != "deep/weights.bin" {
		t.Errorf("the link points to %q, %v", target, err)
	}
	if info, _ := os.Stat(filepath.Join(out, "model.yaml")); info.Mode().Perm() != 0o555 {
		t.Errorf("an executable file has mode %v", info.Mode())
	}
	again, _ := pack(t, out)
	if !bytes.Equal(one, again) {
		t.Error("what was unpacked packs into other bytes")
	}
	if err := archive.Remove(out); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(out)); len(entries) != 0 {
		t.Errorf("left over: %v", entries)
	}
}

// TestHostile gives Extract archives that nobody of good will makes.
func TestHostile(t *testing.T) {
	file := func(name string) *tar.Header {
		return &tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 1, Mode: 0o644}
	}
	link := func(name, target string) *tar.Header {
		return &tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}
	}
	tests := map[string][]*tar.Header{
		"parent":             {file("../escaped")},
		"deep parent":        {file("a/../../escaped")},
		"absolute":           {file("/tmp/escaped")},
		"backslash":          {file(`..\escaped`)},
		"link to absolute":   {link("a", "/etc")},
		"link out":           {link("a", "../..")},
		"write through link": {link("a", "b/../.."), file("a/escaped")},
		"chain of links":     {{Name: "d", Typeflag: tar.TypeDir, Mode: 0o755}, link("d/up", ".."), link("e", "d/up/.."), file("e/escaped")},
		"link to nothing":    {link("a", "nothing")},
		"hard link":          {{Name: "a", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}},
		"device":             {{Name: "a", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}},
		"pipe":               {{Name: "a", Typeflag: tar.TypeFifo}},
		"twice":              {file("a"), file("a")},
		"too many":           {file("a"), file("b"), file("c"), file("d")},
		"too large":          {{Name: "a", Typeflag: tar.TypeReg, Size: 5000, Mode: 0o644}},
	}
	for name, headers := range tests {
		t.Run(name, func(t *testing.T) {
			var data bytes.Buffer
			zip := gzip.NewWriter(&data)
			out := tar.NewWriter(zip)
			for _, header := range headers {
				if err := out.WriteHeader(header); err != nil {
					t.Fatal(err)
				}
				if _, err := out.Write(make([]byte, header.Size)); err != nil {
					t.Fatal(err)
				}
			}
			if err := out.Close(); err != nil {
				t.Fatal(err)
			}
			if err := zip.Close(); err != nil {
				t.Fatal(err)
			}
			top := t.TempDir()
			err := extract(t, data.Bytes(), filepath.Join(top, "in", "out"))
			if err == nil {
				t.Fatal("it was taken")
			}
			left := 0
			_ = filepath.WalkDir(top, func(name string, entry os.DirEntry, err error) error {
				if err == nil && !entry.IsDir() {
					left++
				}
				return err
			})
			if left > 0 {
				t.Errorf("%d files are left over after: %v", left, err)
			}
		})
	}
}

func extract(t *testing.T, data []byte, dir string) error {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return archive.Extract(t.Context(), bytes.NewReader(data), dir, "sha256:"+hex.EncodeToString(sum[:]), archive.Limits{Bytes: 4000, Files: 3})
}

func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a": strings.Repeat("abc", 1000)})
	data, digest := pack(t, dir)
	out := filepath.Join(t.TempDir(), "out")
	for _, n := range []int{0, 3, len(data) / 2, len(data) - 1} {
		if err := archive.Extract(t.Context(), bytes.NewReader(data[:n]), out, digest, archive.Limits{}); err == nil {
			t.Errorf("the first %d of %d bytes were taken", n, len(data))
		}
	}
	err := archive.Extract(t.Context(), io.MultiReader(bytes.NewReader(data), strings.NewReader("x")), out, digest, archive.Limits{})
	if err == nil {
		t.Error("bytes after the archive's end were taken")
	}
	other := slices.Clone(data)
	err = archive.Extract(t.Context(), bytes.NewReader(other), out, "sha256:00", archive.Limits{})
	if modelmanager.CodeOf(err) != modelmanager.CodeStorage {
		t.Errorf("with another digest: %v, want code storage", err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("something was unpacked")
	}
}

func TestListRefusesPipes(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	files, err := archive.List(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Digest(files); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
		t.Errorf("a link out of the folder: %v, want code bad_request", err)
	}
}
