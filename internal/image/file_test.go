package image

import (
	"strings"
	"testing"

	"modelmanager.dev"
)

func TestAFileOfAModel(t *testing.T) {
	w, r := newWorld(t), client()
	dir := folder(t, map[string]string{"README.md": "# hello", "docs/card.md": "deep", "weights.bin": strings.Repeat("w", 1<<20)})
	reference := push(t, t.Context(), r, assembleFolder(t, findBase(t, r, w.base(t, "base/python", minimal)), dir), w.host+"/models/iris")
	for _, c := range []struct {
		name, want string
		code       modelmanager.Code
	}{
		{"README.md", "# hello", ""}, {"docs/card.md", "deep", ""}, {"none.md", "", modelmanager.CodeNotFound},
		{"../bin/sh", "", modelmanager.CodeNotFound}, {"weights.bin", "", modelmanager.CodeTooLarge}, {"docs", "", modelmanager.CodeNotFound},
	} {
		got, err := r.File(t.Context(), reference, c.name, 1000)
		if string(got) != c.want || modelmanager.CodeOf(err) != c.code {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}
