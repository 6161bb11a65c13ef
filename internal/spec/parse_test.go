package spec

import (
	"os"
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
