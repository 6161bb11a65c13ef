package buildkit

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"

	"github.com/moby/buildkit/util/grpcerrors"

	"modelmanager.dev"
	"modelmanager.dev/internal/image"
)

// exporting begins the name of the step that pushes.
const exporting = "exporting to image"

// explain says why a build failed: where in the Dockerfile, at which command, and
// what that wrote last.
func (b *Builder) explain(ctx context.Context, recipe image.Recipe, steps *steps, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("building %s: %w", recipe.Name, ctx.Err())
	}
	failed := steps.known[steps.failed]
	var vertex *errdefs.VertexError
	if errors.As(err, &vertex) {
		if known := steps.known[digest.Digest(vertex.Digest)]; known != nil {
			failed = known
		}
	}
	if failed == nil {
		failed = &step{}
	}
	message := plainText(err)
	where := place(err)
	var exit *gateway.ExitError
	switch {
	case errors.As(err, &exit) && where != "":
		text := fmt.Sprintf("building %s: %s: %s: it ended with status %d", recipe.Name, where, command(failed.name), exit.ExitCode)
		if exit.ExitCode == 137 {
			text += ", killed, most likely for want of memory"
		}
		return modelmanager.Errorf(modelmanager.CodeInvalidSpec, "%s%s", text, wrote(failed.last))
	case where != "":
		return modelmanager.Errorf(modelmanager.CodeInvalidSpec, "building %s: %s: %s%s", recipe.Name, where, message, advice(message))
	case strings.HasPrefix(failed.name, exporting) || strings.Contains(message, "failed to push"):
		return pushFailed(recipe, message)
	}
	switch grpcerrors.Code(err) {
	case codes.Unavailable:
		return modelmanager.Errorf(modelmanager.CodeUnavailable, "building %s: BuildKit at %s was lost: %s; publish again", recipe.Name, b.options.Address, message)
	case codes.Canceled:
		return modelmanager.Errorf(modelmanager.CodeUnavailable, "building %s: BuildKit at %s gave it up: %s; publish again", recipe.Name, b.options.Address, message)
	}
	return modelmanager.Errorf(modelmanager.CodeInvalidSpec, "building %s: %s%s", recipe.Name, message, wrote(failed.last))
}

// pushFailed says that there is an image, and that the registry hasn't got it.
func pushFailed(recipe image.Recipe, message string) error {
	for _, sign := range []string{"401", "403", "authorization failed", "insufficient_scope", "denied"} {
		if strings.Contains(message, sign) {
			return modelmanager.Errorf(modelmanager.CodeForbidden,
				"pushing the image of %s: the registry doesn't allow it: %s; log in with `docker login` or `crane auth login`, or ask for the right", recipe.Name, message)
		}
	}
	return modelmanager.Errorf(modelmanager.CodeUnavailable,
		"pushing the image of %s: BuildKit pushes it, and couldn't: %s; see that the registry can be reached under that name from where BuildKit runs", recipe.Name, message)
}

// place is where in the Dockerfile something is wrong: the innermost place.
func place(err error) string {
	for _, source := range errdefs.Sources(err) {
		if source.Info == nil || len(source.Ranges) == 0 || source.Ranges[0].Start == nil {
			continue
		}
		return fmt.Sprintf("%s, line %d", source.Info.Filename, source.Ranges[0].Start.Line)
	}
	return ""
}

// counted is what BuildKit puts before a step: its stage and number.
var counted = regexp.MustCompile(`^\[[^\]]*\] `)

func command(name string) string { return short(counted.ReplaceAllString(name, "")) }

// wrote are a step's last lines, below an error.
func wrote(lines []string) string {
	if len(lines) == 0 {
		return "; it wrote nothing"
	}
	text := strings.Join(lines, "\n  ")
	return "; its last lines:\n  " + text + networkAdvice(text)
}

// noNetwork are what programs say that reach nothing.
var noNetwork = []string{
	"Temporary failure resolving", "Temporary failure in name resolution", "Could not resolve", "Couldn't resolve", "Network is unreachable", "network is unreachable",
	"Name or service not known", "Could not connect to", "Couldn't connect to server", "Failed to connect to", "Timeout was reached", "NewConnectionError", "no such host",
}

func networkAdvice(text string) string {
	for _, sign := range noNetwork {
		if strings.Contains(text, sign) {
			return "\nThe step reaches no network, or not that server: steps have the network that BuildKit's operator gives them. Ask for it, or for a mirror that the base image names."
		}
	}
	return ""
}

// advice says what to do about what can't be found or pulled.
func advice(message string) string {
	switch {
	case strings.Contains(message, "failed to resolve source metadata"), strings.Contains(message, "failed to do request"), strings.Contains(message, "pull access denied"):
		return "; BuildKit pulls images itself: see that this one is there, and that BuildKit may and can reach its registry"
	case strings.HasPrefix(message, "there is no "), strings.Contains(message, "failed to compute cache key"):
		return "; the steps see the model's folder, as .mmignore and .dockerignore leave it"
	}
	return ""
}

// wrapping is what the layers below put before a message.
var wrapping = regexp.MustCompile(`^(failed to solve: |failed to call info: |failed to get status: |rpc error: code = \w+ desc = |error reading server preface: )+`)

// noSuchFile is how BuildKit says that a step copies what isn't there.
var noSuchFile = regexp.MustCompile(`^failed to compute cache key: failed to calculate checksum of ref \S+: ("[^"]*"): not found$`)

func plainText(err error) string {
	text := wrapping.ReplaceAllString(err.Error(), "")
	return short(noSuchFile.ReplaceAllString(text, "there is no $1"))
}
