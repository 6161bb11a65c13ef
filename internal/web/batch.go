package web

import (
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"modelmanager.dev"
	"modelmanager.dev/internal/problem"
	"modelmanager.dev/internal/spec"
)

// mountBatch mounts the way of a file: chosen (this file), looked at
// (batch_check.go), run (batch_run.go). All that a visitor decides on the way
// is in the page's address (batch_request.go): nothing is kept on the server
// but the file.
func (w *Web) mountBatch() {
	w.get("GET /models/{model}/batch", (*visit).batch)
	w.get("GET /models/{model}/batch/template/{name}", (*visit).batchTemplate)
	w.upload("/models/{model}/batch/upload", (*visit).batchUpload)
	w.post("/models/{model}/batch/check", (*visit).batchChange)
	w.post("/models/{model}/batch/run", (*visit).batchRun)
}

// uploadPage is where a file is chosen.
type uploadPage struct {
	modelHead
	Version  int    // that shall predict; 0: the one that the traffic says
	Refused  string // why this model takes no files; "": it does
	Most     string // how large an upload may be, in a sentence
	MaxBytes int64  // the same
	TooLarge string // what is said of a larger one
	Meant    bool   // some columns say what they mean
	Features []featureLine
	Answers  []featureLine
	Wrong    *problem.Problem // what became of the last try
}

// featureLine is what a column must be.
type featureLine struct {
	Name, Kind, About string
	Needed            bool
}

// batch shows where to choose a file, or, once there is one, how it is read.
func (v *visit) batch() error {
	if v.query("upload") != "" || v.query("uri") != "" {
		request := requestOf(v.r.URL.Query())
		if v.query(wholeParameter) == "" {
			return v.batchCheck(request, nil)
		}
		if strings.Contains(v.r.Header.Get("Accept"), "text/event-stream") {
			return v.streamCheck(request)
		}
		return v.showCheck(request, v.checkWhole(request, nil))
	}
	version, err := v.askedVersion()
	if err != nil {
		return err
	}
	return v.chooseFile(version, nil)
}

// askedVersion is the version that an address asks for; 0: the one that the
// traffic says.
func (v *visit) askedVersion() (int, error) {
	if text := v.query("version"); text != "" {
		return versionNumber(text)
	}
	return 0, nil
}

// batchModel is the model that a page about files is about, with the spec of
// the version that shall predict; 0: the one that the traffic says.
func (v *visit) batchModel(version int) (modelmanager.ModelInfo, *spec.Spec, error) {
	wait, _ := v.patience()
	model, err := v.api().ModelWithin(v.ctx(), wait, v.r.PathValue("model"))
	if err != nil {
		return model, nil, err
	}
	if version != 0 {
		parsed, err := v.specOf(model.Name, version)
		return model, parsed, err
	}
	if len(model.Spec) == 0 {
		return model, nil, modelmanager.Errorf(modelmanager.CodeConflict, "%s has no version in production: nothing could predict a file", model.Name)
	}
	parsed, err := spec.FromCanonical(string(model.Spec))
	return model, parsed, err
}

// chooseFile shows where to choose a file for a version; wrong is what became of
// the last one.
func (v *visit) chooseFile(version int, wrong error) error {
	model, err := v.readModel("file")
	if err != nil {
		return err
	}
	limits, err := v.api().Limits(v.ctx())
	if err != nil {
		return err
	}
	page := uploadPage{modelHead: model, Version: version, Most: mostWords(mostUpload(limits)), MaxBytes: mostUpload(limits), TooLarge: tooLarge(limits)}
	asked, serves := model.Spec, model.Batch()
	if version != 0 {
		if asked, err = v.specOf(model.Name, page.Version); err != nil {
			return err
		}
		serves = slices.Contains(asked.Serve, modelmanager.Batch)
	}
	switch {
	case page.Version == 0 && model.Traffic.Largest() == 0:
		page.Refused = "No version of this model is in production: nothing could predict a file."
	case !serves:
		page.Refused = "This model answers single questions only. Its owner would have to add “batch” to serve in its model.yaml."
	}
	for _, field := range asked.Features {
		page.Features = append(page.Features, lineOf(field))
		page.Meant = page.Meant || field.Description != ""
	}
	for _, field := range asked.Predictions {
		page.Answers = append(page.Answers, lineOf(field))
	}
	status := http.StatusOK
	if wrong != nil {
		p := problem.Of(wrong)
		page.Wrong, status = &p, p.Status
		if v.wantsPart() {
			return v.partStatus(status, "batch-upload", "wrong", page)
		}
	}
	return v.pageStatus(status, "batch-upload", "models", "A file for "+model.Name, page)
}

// mostWords says how large a file may be. Nobody has to weigh a limit that no
// file of theirs comes near.
func mostWords(limit int64) string {
	if limit >= 100e9 {
		return "It may be as large as you like: millions of rows are fine."
	}
	return "It may have at most " + byteSize(limit) + "."
}

// mostUpload is how many bytes a file may have now.
func mostUpload(limits modelmanager.Limits) int64 {
	if limits.UploadRoom != nil {
		return min(limits.UploadBytes, *limits.UploadRoom)
	}
	return limits.UploadBytes
}

// tooLarge says of a file that it has more.
func tooLarge(limits modelmanager.Limits) string {
	if most := mostUpload(limits); most < limits.UploadBytes {
		return "There is no room for this file: the server’s disk has " + byteSize(most) + " left. Tell whoever runs the server."
	}
	return "This file is too large: it may have at most " + byteSize(limits.UploadBytes) + "."
}

func lineOf(field modelmanager.Field) featureLine {
	return featureLine{Name: field.Name, Kind: kindOf(field), About: field.Description, Needed: !field.Optional}
}

// formAround is what a form has around its file, at most: less than that, and it
// isn't known before it has come whether the file is too large.
const formAround = 64 << 10

// uploadPatience is how long an upload may stand still.
const uploadPatience = time.Minute

// patient reads a body for as long as some of it keeps coming.
type patient struct {
	io.Reader
	control *http.ResponseController
}

// Read implements io.Reader.
func (p patient) Read(data []byte) (int, error) {
	_ = p.control.SetReadDeadline(time.Now().Add(uploadPatience)) // where there are deadlines
	n, err := p.Reader.Read(data)
	if err != nil {
		_ = p.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// batchUpload streams a file from the browser to the API, never through memory.
func (v *visit) batchUpload() error {
	v.r.Body = io.NopCloser(patient{v.r.Body, http.NewResponseController(v.w)})
	parts, err := v.parts()
	if err != nil {
		return err
	}
	version := 0
	file, err := parts.NextPart()
	for err == nil && file.FormName() != "file" {
		if file.FormName() == "version" {
			text, _ := io.ReadAll(io.LimitReader(file, 20))
			if version, err = versionNumber(string(text)); err != nil {
				return v.chooseFile(0, err)
			}
		}
		file, err = parts.NextPart()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "the upload broke off: %w; send the file again", err)
	}
	if err != nil || file.FileName() == "" {
		return v.chooseFile(version, modelmanager.Errorf(modelmanager.CodeBadRequest, "No file was chosen. Choose one, then go on."))
	}
	limits, err := v.api().Limits(v.ctx())
	if err != nil {
		return err
	}
	refused := modelmanager.Errorf(modelmanager.CodeTooLarge, "%s", tooLarge(limits))
	if v.r.ContentLength-formAround > mostUpload(limits) {
		return v.chooseFile(version, refused)
	}
	name := fileName(file)
	upload, err := v.api().Upload(v.ctx(), name, file)
	if modelmanager.CodeOf(err) == modelmanager.CodeTooLarge {
		err = refused
	}
	if err != nil {
		return v.chooseFile(version, err)
	}
	request := modelmanager.JobRequest{Input: modelmanager.JobInput{Upload: upload.ID, Name: name}, Version: version}
	return v.redirect(checkAddress(v.r.PathValue("model"), request), "")
}

// fileName is what the visitor calls the file: its last part, without what
// would break a line.
func fileName(file *multipart.Part) string {
	name := path.Base(strings.ReplaceAll(file.FileName(), `\`, "/"))
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return -1
		}
		return r
	}, name)
	if runes := []rune(name); len(runes) > 150 {
		name = string(runes[len(runes)-150:])
	}
	return name
}
