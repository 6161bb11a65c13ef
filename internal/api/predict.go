package api

import (
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"modelmanager.dev"
)

// IsPrediction tells whether a request is a call for rows, whose answer must cost
// little.
func IsPrediction(method, path string) bool {
	return method == http.MethodPost && strings.HasPrefix(path, "/v1/models/") && strings.HasSuffix(path, "/predict")
}

// registerPredict mounts the calls for rows. They stream through the gateway,
// which reads no body; the agent beside the model checks the rows.
func (a *API) registerPredict(h huma.API) {
	request := h.OpenAPI().Components.Schemas.Schema(typeOf[modelmanager.PredictRequest](), true, "")
	response := h.OpenAPI().Components.Schemas.Schema(typeOf[modelmanager.PredictResponse](), true, "")
	csv := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	for _, path := range []string{"/v1/models/{model}/predict", "/v1/models/{model}/versions/{version}/predict"} {
		id, summary := "predict", "Predict rows, by the version that the traffic says"
		if strings.Contains(path, "{version}") {
			id, summary = "predict-version", "Predict rows, by this version"
		}
		a.plain(h, huma.Operation{
			OperationID: id, Method: http.MethodPost, Path: path, Summary: summary, Tags: []string{"predictions"},
			Description: "An idle model is started, and the call waits for it: 30 s, or as long as Prefer: wait=SECONDS says.",
			Parameters: []*huma.Param{
				{Name: "Prefer", In: "header", Schema: &huma.Schema{Type: huma.TypeString}, Description: "wait=SECONDS is the caller's deadline"},
				{Name: "Traffic-Key", In: "header", Schema: &huma.Schema{Type: huma.TypeString}, Description: "Calls with the same key get the same version while a split lasts"},
				{Name: "on_error", In: "query", Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{"fail", "partial"}}, Description: "Of text/csv; a JSON body says it itself. With partial, a column _error says why a row has no predictions"},
				{Name: "prefix", In: "query", Schema: &huma.Schema{Type: huma.TypeString}, Description: "Of text/csv: goes before the predictions' names"},
				csvParam("delimiter", "one character, or tab"), csvParam("encoding", "such as windows-1252"), csvParam("decimal", ". or ,"),
				csvParam("header_row", "the row with the columns' names, from 1"), csvParam("dates", "a layout such as DD/MM/YYYY"),
				csvParam("timezone", "of date-times without an offset"), csvParam("null", "a text that stands for null; repeatable"),
			},
			RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
				"application/json": {Schema: request}, "text/csv": csv,
			}},
			Responses: map[string]*huma.Response{
				"200": {
					Description: "Predictions, one a row. A CSV comes back as CSV, or as JSON where Accept says so",
					Content:     map[string]*huma.MediaType{"application/json": {Schema: response}, "text/csv": csv},
					Headers: map[string]*huma.Param{"Read-As": {
						Schema: &huma.Schema{Type: huma.TypeString}, Description: "Of text/csv: how it was read, the input of a job as JSON",
					}},
				},
			},
		}, "application/json", func(w http.ResponseWriter, r *http.Request) error {
			ref, err := pathRef(r)
			if err != nil {
				return err
			}
			a.Gateway.Predict(w, r, ref.Model, ref.Version)
			return nil
		})
	}
}

// csvParam is a part of a CSV's dialect; what isn't given is found out.
func csvParam(name, description string) *huma.Param {
	return &huma.Param{Name: name, In: "query", Schema: &huma.Schema{Type: huma.TypeString}, Description: "Of text/csv: " + description + "; default: found out from the file"}
}
