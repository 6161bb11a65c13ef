// Command fakeagent is the suite's fake agent as an image of an agent. The
// param `trouble` of a spec makes it get into trouble first.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform/platformtest"
	"modelmanager.dev/internal/spec"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "copy" {
		program, err := os.ReadFile("/proc/self/exe")
		if err == nil {
			err = os.WriteFile(os.Args[2], program, 0o755)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if err := trouble(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "mm-agent:", err)
		os.Exit(3)
	}
	os.Exit(platformtest.FakeAgent(os.Args[1]))
}

func trouble(path string) error {
	config, err := agent.ReadConfig(path)
	if err != nil {
		return err
	}
	s, err := spec.FromCanonical(config.Spec)
	if err != nil {
		return err
	}
	switch s.Params["trouble"] {
	case "crash":
		fmt.Println("it begins\nsomething is odd")
		return fmt.Errorf("the model's file has 3 bytes too few")
	case "memory":
		var all [][]byte
		for {
			block := make([]byte, 16<<20)
			for i := range block {
				block[i] = byte(i)
			}
			all = append(all, block)
		}
	case "disk":
		text := []byte(strings.Repeat("x", 1<<20))
		for i := range 96 {
			if err := os.WriteFile(fmt.Sprintf("/tmp/%d", i), text, 0o600); err != nil {
				return err
			}
		}
		time.Sleep(time.Hour)
	}
	return nil
}
