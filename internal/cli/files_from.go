package cli

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"modelmanager.dev/internal/pipeline"
)

// filesFrom is the variable with the prefixes of --files-from, for CI.
const filesFrom = "MM_FILES_FROM"

// filesOptions say from where models' large files may be fetched.
type filesOptions struct{ prefixes []string }

func (o *filesOptions) add(flags *pflag.FlagSet) {
	flags.StringSliceVar(&o.prefixes, "files-from", nil, "prefixes of the addresses that models' files: may name, such as https://files.example.org/models/, gs://bucket/, s3://bucket/?region=eu-west-1, file:///data/; default: any https address; $"+filesFrom)
}

// files fetches what models name; what was fetched once is kept in the user's cache.
func (o *filesOptions) files() *pipeline.Files {
	prefixes := o.prefixes
	if len(prefixes) == 0 {
		prefixes = FilesFrom()
	}
	return &pipeline.Files{Prefixes: prefixes, Cache: filepath.Join(cacheDir(), "modelmanager", "files")}
}

// FilesFrom are the prefixes that the environment names, with commas between them.
func FilesFrom() []string {
	return strings.FieldsFunc(os.Getenv(filesFrom), func(r rune) bool { return r == ',' || r == ' ' })
}
