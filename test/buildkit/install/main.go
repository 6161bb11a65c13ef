// Command install builds the BuildKit daemon that tests run against.
package main

import (
	"fmt"
	"os"

	"modelmanager.dev/test/buildkit/programs"
)

func main() {
	if err := programs.Install(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
