package pipeline

import (
	"context"

	"modelmanager.dev"
	"modelmanager.dev/internal/image"
	"modelmanager.dev/internal/image/buildkit"
)

// ImageBuilder builds images by running steps, and pushes them.
type ImageBuilder interface {
	// Build returns the reference of the image that was pushed, by digest.
	Build(ctx context.Context, recipe image.Recipe) (string, error)
}

// BuildKit is the BuildKit at an address, unix:///… or tcp://…; tls is the folder
// with what TLS takes. It connects to nothing yet. "" is no BuildKit: nil.
func BuildKit(address, tls string) (ImageBuilder, error) {
	if address == "" {
		return nil, nil
	}
	builder, err := buildkit.New(buildkit.Options{Address: address, TLS: tls})
	if err != nil {
		return nil, err
	}
	return builder, nil
}

// buildOwn builds the image of a folder with a Dockerfile. The folder is
// complete: its files are fetched and verified. The image's command goes into
// the spec.
func (i *Images) buildOwn(ctx context.Context, p *Prepared, options Options) (string, error) {
	if i.Builder == nil {
		return "", modelmanager.Errorf(modelmanager.CodeBadRequest,
			"publishing %s: its Dockerfile is built by BuildKit, and none is named; name one with --buildkit ADDRESS or $BUILDKIT_HOST (unix:///run/buildkit/buildkitd.sock, tcp://host:1234), or build the image yourself and name it by digest under build.image",
			p.Spec.Name)
	}
	repository := i.repository(p.Spec.Name)
	options.say("building %s", p.Spec.Build.Dockerfile)
	reference, err := i.Builder.Build(ctx, image.Recipe{
		Name: "the image of " + p.Spec.Name, Dir: p.Dir, Dockerfile: p.Spec.Build.Dockerfile,
		Repository: repository, Plain: i.registry.Plain(repository), Platform: i.Platform, Afresh: i.Afresh, Progress: options.Progress,
	})
	if err != nil {
		return "", err
	}
	facts, err := i.registry.Inspect(ctx, reference)
	if err != nil {
		return "", err
	}
	return reference, takeCommand(p.Spec, facts.Command)
}
