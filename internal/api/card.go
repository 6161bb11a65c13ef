package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// registerCard mounts the call for a version's card: the Markdown file of the
// model's folder that says to people what the model is.
func (a *API) registerCard(h huma.API) {
	a.plain(h, huma.Operation{
		OperationID: "version-card", Method: http.MethodGet, Path: "/v1/models/{model}/versions/{version}/card",
		Summary: "The version's card, a Markdown file of its folder", Tags: []string{"versions"},
	}, "text/markdown", a.versionCard)
}

func (a *API) versionCard(w http.ResponseWriter, r *http.Request) error {
	ref, err := pathRef(r)
	if err != nil {
		return err
	}
	version, err := a.Registry.Version(r.Context(), ref.Model, ref.Version)
	if err != nil {
		return err
	}
	s, err := spec.FromCanonical(version.Spec)
	if err != nil {
		return err
	}
	if s.Card == "" || a.Card == nil {
		return modelmanager.Errorf(modelmanager.CodeNotFound, "version %d of %s has no card; a README.md in its folder, or the file that card in its model.yaml names, is one", ref.Version, ref.Model)
	}
	card, err := a.Card(r.Context(), version, s.Card)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/markdown; charset=utf-8")
	_, _ = w.Write(card)
	return nil
}
