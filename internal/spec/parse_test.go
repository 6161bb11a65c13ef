package spec

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseFull(t *testing.T) {
	data, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse("model.yaml", data)
	if err != nil {
		t.Fatalf("%v", err)
	}
	text, err := s.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	again, err := FromCanonical(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, again); diff != "" {
		t.Errorf("the canonical form doesn't say the same (-parsed +canonical):\n%s", diff)
	}
	second, _ := again.Canonical()
	if second != text {
		t.Errorf("not canonical:\n%s\n%s", text, second)
	}
	if err := again.Check(); err != nil {
		t.Errorf("Check: %v", err)
	}
}

// TestUnknownNull writes the word as people do, and in quotes.
func TestUnknownNull(t *testing.T) {
	for text, ok := range map[string]bool{"null": true, `"null"`: true, "": false, "~": false, "accept": true} {
		s, err := Parse("model.yaml", []byte(`
name: m
summary: Says yes.
owner: me@example.org
features:
  - {name: side, type: string, enum: [left, right], nullable: true, unknown: `+text+`}
predictions: [{name: y, type: number}]
run: {command: [./model]}
examples: [{features: {side: left}}]
`))
		if (err == nil) != ok {
			t.Errorf("unknown: %s: %v", text, err)
		}
		if want := strings.Trim(text, `"`); ok && s.Features[0].Unknown != want {
			t.Errorf("unknown: %s means %q", text, s.Features[0].Unknown)
		}
	}
}
