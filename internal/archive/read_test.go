package archive_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/archive"
)

func TestReadFile(t *testing.T) {
	var packed bytes.Buffer
	file := func(path, text string) archive.File {
		return archive.File{Path: path, Size: int64(len(text)), Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
	}
	if _, err := archive.Write(&packed, []archive.File{file("README.md", "# hello"), file("docs/card.md", "deep")}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		code       modelmanager.Code
	}{
		{"README.md", "# hello", ""}, {"docs/card.md", "deep", ""}, {"./docs/../docs/card.md", "deep", ""},
		{"none.md", "", modelmanager.CodeNotFound}, {"../README.md", "", modelmanager.CodeNotFound}, {"docs", "", modelmanager.CodeNotFound},
	} {
		got, err := archive.ReadFile(t.Context(), bytes.NewReader(packed.Bytes()), c.name, 100)
		if string(got) != c.want || modelmanager.CodeOf(err) != c.code {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
	if _, err := archive.ReadFile(t.Context(), bytes.NewReader(packed.Bytes()), "README.md", 3); modelmanager.CodeOf(err) != modelmanager.CodeTooLarge {
		t.Errorf("%v", err)
	}
}
