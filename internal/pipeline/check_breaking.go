package pipeline

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// breakingTrailer is the trailer of a commit's message that names the models whose
// callers know of a breaking change: "Allow-Breaking: churn, returns", or *. It is
// reviewed with the change, holds for it alone, and reaches every pipeline.
const breakingTrailer = "Allow-Breaking"

// AllowBreaking reads for which models the commits between two states allow
// breaking changes.
func (s Span) AllowBreaking(ctx context.Context) (func(model string) bool, error) {
	values, err := s.Repository.Trailers(ctx, s.From, s.To, breakingTrailer)
	if err != nil {
		return nil, err
	}
	var allowed []string
	for _, value := range values {
		allowed = append(allowed, strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	return Allowing(allowed), nil
}

// Allowing tells whether a model is among some; "*" is each.
func Allowing(models []string) func(model string) bool {
	return func(model string) bool { return slices.Contains(models, "*") || slices.Contains(models, model) }
}

// howToAllow says how a breaking change is allowed.
func howToAllow(model string) string {
	return fmt.Sprintf("allow it: a line “%s: %s” at the end of the commit's message, or --allow-breaking=%s", breakingTrailer, model, model)
}

// LiveVersions is where published versions are asked for.
type LiveVersions interface {
	TrafficHistory(ctx context.Context, model string) (modelmanager.TrafficHistory, error)
	Version(ctx context.Context, model string, version int) (modelmanager.VersionInfo, error)
}

// CheckBreaking refuses a spec that breaks callers of the version that answers
// now. A server that can't be asked is an error, too.
func CheckBreaking(ctx context.Context, server LiveVersions, s *spec.Spec) error {
	history, err := server.TrafficHistory(ctx, s.Name)
	switch modelmanager.CodeOf(err) {
	case "":
	case modelmanager.CodeNotFound, modelmanager.CodeRetired:
		return nil
	default:
		return fmt.Errorf("asking the server what of %s is live: %w", s.Name, err)
	}
	live := facts{history: history.History}.live()
	broken, err := breaks(ctx, server, live, s)
	if err != nil || len(broken) == 0 {
		return err
	}
	return breakingError(s.Name, live, broken)
}

// breaks says what of a spec breaks callers of a version; 0 is none.
func breaks(ctx context.Context, server LiveVersions, live int, s *spec.Spec) (broken []string, err error) {
	if live == 0 {
		return nil, nil
	}
	version, err := server.Version(ctx, s.Name, live)
	if err != nil {
		return nil, fmt.Errorf("asking the server for version %d of %s, which is live: %w", live, s.Name, err)
	}
	before, err := spec.FromCanonical(string(version.Spec))
	if err != nil {
		return nil, fmt.Errorf("reading the spec of version %d of %s, which is live: %w", live, s.Name, err)
	}
	for _, change := range spec.Diff(before, s) {
		if change.Breaking {
			broken = append(broken, change.Message)
		}
	}
	return broken, nil
}

func breakingError(model string, live int, broken []string) error {
	return modelmanager.Errorf(modelmanager.CodeInvalidSpec,
		"publishing %s: callers of version %d, which is live, can fail: %s. Keep what it had, or publish under another name; if they know of it, %s",
		model, live, strings.Join(broken, "; "), howToAllow(model))
}
