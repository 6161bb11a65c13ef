package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"modelmanager.dev"
)

// defaultMaxUpload bounds one upload, in bytes, unless the operator says
// otherwise.
const defaultMaxUpload = 1 << 40

func (a *API) registerUploads(h huma.API) {
	a.plain(h, huma.Operation{
		OperationID: "upload", Method: http.MethodPost, Path: "/v1/uploads",
		Summary:     "Stream a file in; it exists only when it is complete",
		Description: "An upload that no job and no version uses goes after 24 hours.",
		Tags:        []string{"uploads"},
		Parameters:  []*huma.Param{{Name: "name", In: "query", Schema: &huma.Schema{Type: huma.TypeString}, Description: "The file's name, for the server's log"}},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
		}},
		Responses: map[string]*huma.Response{"201": answerOf[modelmanager.Upload](h, "The upload")},
	}, "application/json", a.upload)
}

func (a *API) upload(w http.ResponseWriter, r *http.Request) error {
	most := a.mostUpload()
	if most <= 0 || r.ContentLength > most {
		return a.uploadTooLarge(most)
	}
	body := &patient{body: r.Body, control: http.NewResponseController(w), patience: uploadPatience}
	upload, err := a.Uploads.Put(r.Context(), body, most)
	switch {
	case body.err != nil:
		return brokenUpload(r, body.err)
	case modelmanager.CodeOf(err) == modelmanager.CodeTooLarge:
		return a.uploadTooLarge(most)
	case err != nil:
		return err
	}
	a.Logger.DebugContext(r.Context(), "an upload is complete", "id", upload.ID, "name", shortened(r.URL.Query().Get("name")), "bytes", upload.Size)
	writeJSON(w, http.StatusCreated, upload)
	return nil
}

// mostUpload is how many bytes an upload may have now: no more than there is
// room for, either.
func (a *API) mostUpload() int64 {
	if room, known := a.Uploads.Room(); known {
		return min(a.MaxUpload, room)
	}
	return a.MaxUpload
}

func (a *API) uploadTooLarge(most int64) error {
	if most < a.MaxUpload {
		return modelmanager.Errorf(modelmanager.CodeTooLarge,
			"the server's disk has room for %d bytes, and the upload has more; nothing of it is kept: delete the data of old jobs, or tell whoever runs the server", most)
	}
	return modelmanager.Errorf(modelmanager.CodeTooLarge,
		"an upload can have %d bytes at most, and this one has more; nothing of it is kept: split the file, or ask whoever runs the server for a larger --max-upload", most)
}

// patient reads a body for as long as some of it keeps coming.
type patient struct {
	body     io.Reader
	control  *http.ResponseController
	patience time.Duration
	err      error // of the body itself, if it broke off
}

// uploadPatience is how long an upload may stand still.
const uploadPatience = time.Minute

// Read implements io.Reader.
func (p *patient) Read(data []byte) (int, error) {
	// Not every ResponseWriter has deadlines; the server's own then apply.
	_ = p.control.SetReadDeadline(time.Now().Add(p.patience))
	n, err := p.body.Read(data)
	if err != nil {
		_ = p.control.SetReadDeadline(time.Time{})
		if err != io.EOF {
			p.err = err
		}
	}
	return n, err
}

func brokenUpload(r *http.Request, err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return modelmanager.Errorf(modelmanager.CodeTooLarge, "an upload can have %d bytes", tooLarge.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return modelmanager.Errorf(modelmanager.CodeDeadlineExceeded, "the upload stood still for %s; nothing of it is kept, send it again", uploadPatience)
	case r.Context().Err() != nil:
		return modelmanager.Errorf(modelmanager.CodeCancelled, "the caller went away; nothing of the upload is kept")
	}
	return modelmanager.Errorf(modelmanager.CodeBadRequest, "the upload broke off: %w; nothing of it is kept, send it again", err)
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The caller may be gone; there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(value)
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }
