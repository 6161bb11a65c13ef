package needs_test

import (
	"testing"

	"modelmanager.dev/test/needs"
)

func TestSkip(t *testing.T) {
	t.Setenv("MM_TEST_NO_SKIP", "")
	went := false
	t.Run("of nothing", func(t *testing.T) {
		t.Cleanup(func() { went = t.Skipped() && !t.Failed() })
		needs.Program(t, "a-program-that-nobody-has")
		t.Error("the test goes on")
	})
	if !went {
		t.Error("a test without its program was not skipped")
	}
	if needs.Fails() {
		t.Error("it fails without being told to")
	}
	if t.Setenv("MM_TEST_NO_SKIP", "1"); !needs.Fails() {
		t.Error("it doesn't fail, told to")
	}
}
