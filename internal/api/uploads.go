package api

import (
	"encoding/json"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"modelmanager.dev"
)

// maxUpload bounds one upload, in bytes.
const maxUpload = 1 << 40

func (a *API) registerUploads(h huma.API) {
	schema := h.OpenAPI().Components.Schemas.Schema(typeOf[modelmanager.Upload](), true, "")
	a.plain(h, huma.Operation{
		OperationID: "upload", Method: http.MethodPost, Path: "/v1/uploads",
		Summary:     "Stream a file in; it exists only when it is complete",
		Description: "An upload that no job and no version uses goes after 24 hours.",
		Tags:        []string{"uploads"},
		Parameters:  []*huma.Param{{Name: "name", In: "query", Schema: &huma.Schema{Type: huma.TypeString}, Description: "The file's name, for people"}},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
		}},
		Responses: map[string]*huma.Response{"201": {
			Description: "The upload", Content: map[string]*huma.MediaType{"application/json": {Schema: schema}},
		}},
	}, "application/json", func(w http.ResponseWriter, r *http.Request) error {
		upload, err := a.Uploads.Put(r.Context(), r.Body, maxUpload)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusCreated, upload)
		return nil
	})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The caller may be gone; there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(value)
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }
