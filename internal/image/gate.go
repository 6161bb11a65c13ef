package image

import (
	"context"
	"path"
	"strings"

	"modelmanager.dev"
)

// Gate decides which images a server takes as models' versions.
type Gate struct {
	Registry *Registry
	// Prefixes are the repositories under which models' images lie, such as
	// registry.example.org/models: what is anywhere else isn't run.
	Prefixes []string
	Platform string // "": linux/amd64
}

// Artifact makes an image, named by digest, the artifact of a version. It looks
// at the registry with the server's own rights: an image that isn't there, isn't
// for the server's platform, or isn't the model's, is refused.
//
// Errors: CodeForbidden, CodeNotFound, CodeBadRequest; CodeUnavailable if the
// registry can't be asked.
func (g *Gate) Artifact(ctx context.Context, model, reference string) (modelmanager.Artifact, error) {
	var none modelmanager.Artifact
	allowed, err := g.Registry.Allowed(reference, g.Prefixes)
	if err != nil {
		return none, err
	}
	if !allowed {
		return none, modelmanager.Errorf(modelmanager.CodeForbidden,
			"publishing %s: its image %.300s lies in a repository that this server takes no models from; push it under %s",
			model, reference, strings.Join(g.Prefixes, " or "))
	}
	ref, err := g.Registry.parse(reference)
	if err != nil {
		return none, err
	}
	// Otherwise whoever may publish one model could run another one's files.
	if path.Base(ref.Context().RepositoryStr()) != model {
		return none, modelmanager.Errorf(modelmanager.CodeForbidden,
			"publishing %s: its image %.300s lies in another model's repository; push it to one that ends in /%s", model, reference, model)
	}
	facts, err := g.Registry.Inspect(ctx, reference)
	if err != nil {
		return none, err
	}
	platform, err := parsePlatform(g.Platform)
	if err != nil {
		return none, err
	}
	if want := platform.OS + "/" + platform.Architecture; facts.Platform != want {
		return none, modelmanager.Errorf(modelmanager.CodeBadRequest, "publishing %s: its image is for %s, and this server runs %s", model, facts.Platform, want)
	}
	return modelmanager.Artifact{Digest: facts.Digest, Image: facts.Reference, Size: facts.Size}, nil
}
