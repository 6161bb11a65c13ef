package cli

import (
	"os"

	"github.com/spf13/pflag"

	"modelmanager.dev/internal/pipeline"
)

// buildkitOptions say where BuildKit is, for images that can't be put together
// without running something.
type buildkitOptions struct {
	address, tls string
	afresh       bool
}

// buildkitHost is the variable that BuildKit's own tools read, too.
const buildkitHost = "BUILDKIT_HOST"

func (o *buildkitOptions) add(flags *pflag.FlagSet) {
	flags.StringVar(&o.address, "buildkit", "", "address of BuildKit, which runs Dockerfiles and installs what bases lack: unix:///run/buildkit/buildkitd.sock or tcp://host:1234; $"+buildkitHost)
	flags.StringVar(&o.tls, "buildkit-tls", "", "folder with ca.pem, cert.pem and key.pem, for BuildKit on another machine; $MM_BUILDKIT_TLS")
	flags.BoolVar(&o.afresh, "no-cache", false, "have BuildKit run every step of a Dockerfile again")
}

// BuildKit is the one that the environment names; nil if it names none.
func BuildKit() (pipeline.ImageBuilder, error) { return new(buildkitOptions).builder() }

// builder is BuildKit; nil if none is named.
func (o *buildkitOptions) builder() (pipeline.ImageBuilder, error) {
	address, tls := o.address, o.tls
	if address == "" {
		address = os.Getenv(buildkitHost)
	}
	if tls == "" {
		tls = os.Getenv("MM_BUILDKIT_TLS")
	}
	builder, err := pipeline.BuildKit(address, tls)
	if err != nil {
		return nil, usageError{err}
	}
	return builder, nil
}
