// Package needs ends tests that need what this machine lacks, such as a
// language.
package needs

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Fails tells whether lacking something is a failure, as it is in CI:
// MM_TEST_NO_SKIP is 1.
func Fails() bool { return os.Getenv("MM_TEST_NO_SKIP") == "1" }

// Skip skips a test, and says why even where go test keeps quiet about skipped
// ones; where nothing may be skipped, the test fails.
func Skip(t testing.TB, why any) {
	t.Helper()
	if Fails() {
		t.Fatal(why)
	}
	fmt.Fprintf(os.Stderr, "SKIPPED %s: %v\n", t.Name(), why)
	t.Skip(why)
}

// Program returns the path of a program; the test is skipped without.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Skip(t, err)
	}
	return path
}
