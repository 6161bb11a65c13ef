package cli

import (
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Version of the program; the build sets it (-ldflags -X).
var Version = ""

// ProgramVersion returns the version that the program was built as.
func ProgramVersion() string {
	if Version != "" {
		return Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

func newVersion(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print mm's version",
		Args:  exactly(),
		RunE: func(*cobra.Command, []string) error {
			return g.show(map[string]string{"version": ProgramVersion()}, func(w io.Writer) {
				fmt.Fprintf(w, "mm %s\n", ProgramVersion())
			})
		},
	}
}
