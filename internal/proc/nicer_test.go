package proc_test

import (
	"bytes"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"modelmanager.dev/internal/proc"
)

// TestBuildsGoAfterTheServer: what a command starts is nicer than this process.
func TestBuildsGoAfterTheServer(t *testing.T) {
	// The group yields once it runs; nice alone says its own niceness.
	command := exec.CommandContext(t.Context(), "sh", "-c", `until [ "$(nice)" -ge "$1" ]; do sleep 0.01; done; sh -c nice`, "sh", strconv.Itoa(proc.Nicer()))
	var output bytes.Buffer
	command.Stdout = &output
	if err := proc.Run(command); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(output.String()); got != strconv.Itoa(proc.Nicer()) {
		t.Errorf("what a build starts is %s nice, want %d", got, proc.Nicer())
	}
}
