// Command install builds the servers that tests of object storage run against.
package main

import (
	"fmt"
	"os"

	"modelmanager.dev/test/stores/programs"
)

func main() {
	for _, name := range programs.Names() {
		if err := programs.Install(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
