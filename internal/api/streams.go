package api

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"modelmanager.dev"
)

// registerJobStreams mounts what streams out of a job.
func (a *API) registerJobStreams(h huma.API) {
	stream := func(what, summary, contentType string, write func(context.Context, string, io.Writer) error) {
		a.plain(h, huma.Operation{
			OperationID: "job-" + what, Method: http.MethodGet, Path: "/v1/jobs/{job}/" + what,
			Summary: summary, Tags: []string{"jobs"},
		}, contentType, func(w http.ResponseWriter, r *http.Request) error {
			return a.stream(w, r, contentType, write)
		})
	}
	stream("logs", "What the workers have logged", "text/plain; charset=utf-8", a.Jobs.Logs)
	a.plain(h, huma.Operation{
		OperationID: "job-rejected", Method: http.MethodGet, Path: "/v1/jobs/{job}/rejected",
		Summary: "The rejected rows, with reasons, as JSON Lines or a table", Tags: []string{"jobs"},
		Parameters: []*huma.Param{{Name: "format", In: "query",
			Schema:      &huma.Schema{Type: huma.TypeString, Enum: []any{"jsonl", "csv", "xlsx"}, Default: "jsonl"},
			Description: "csv and xlsx: the input's columns as they were, then the row's number, the feature at fault and the reason"}},
	}, "application/x-ndjson", a.rejected)
	a.plain(h, huma.Operation{
		OperationID: "job-output", Method: http.MethodGet, Path: "/v1/jobs/{job}/output",
		Summary: "The results as one stream, in the input's order and format", Tags: []string{"jobs"},
	}, "application/octet-stream", func(w http.ResponseWriter, r *http.Request) error {
		job, err := a.Jobs.Get(r.Context(), r.PathValue("job"))
		if err != nil {
			return err
		}
		output := job.Output
		output.Format = cmp.Or(output.Format, job.Input.Format)
		w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", job.Model+"-"+job.ID+"."+output.Extension()))
		// What the job compressed is a file that stays compressed, not an encoding of the transfer.
		return a.stream(w, r, cmp.Or(compressedTypes[output.Compression], contentTypes[output.Format]), a.Jobs.Output)
	})
	a.plain(h, huma.Operation{
		OperationID: "job-events", Method: http.MethodGet, Path: "/v1/jobs/{job}/events",
		Summary: "The job each time it changes, as server-sent events, until it ends", Tags: []string{"jobs"},
		Responses: map[string]*huma.Response{
			"200": {Description: "Events named job, whose data is the job and whose id is its state", Content: map[string]*huma.MediaType{"text/event-stream": {}}},
			"204": {Description: "The last event was sent before: Last-Event-ID is the job's final state"},
		},
	}, "text/event-stream", a.jobEvents)
}

// rejected sends a job's rejected rows.
func (a *API) rejected(w http.ResponseWriter, r *http.Request) error {
	format := r.URL.Query().Get("format")
	switch format {
	case "", "jsonl":
		return a.stream(w, r, contentTypes["jsonl"], a.Jobs.Rejected)
	case "csv", "xlsx":
		job, err := a.Jobs.Get(r.Context(), r.PathValue("job"))
		if err != nil {
			return err
		}
		w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", job.Model+"-"+job.ID+"-rejected."+format))
		return a.stream(w, r, contentTypes[format], func(ctx context.Context, id string, w io.Writer) error {
			return a.Jobs.RejectedTable(ctx, id, format, w)
		})
	}
	return modelmanager.Errorf(modelmanager.CodeBadRequest, "rejected rows come as jsonl, csv or xlsx, not as %q", shortened(format))
}

// contentTypes of the formats that files have.
var contentTypes = map[string]string{
	"csv": "text/csv", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet",
	"xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}

// compressedTypes are those of compressed outputs.
var compressedTypes = map[string]string{"gzip": "application/gzip", "zstd": "application/zstd"}

// stream sends what write writes. Once bytes are on their way, an error can
// only break the connection, which the reader then sees.
func (a *API) stream(w http.ResponseWriter, r *http.Request, contentType string, write func(context.Context, string, io.Writer) error) error {
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	if r.Method == http.MethodHead { // what it would be, without making it
		if _, err := a.Jobs.Get(r.Context(), r.PathValue("job")); err != nil {
			return err
		}
		w.Header().Set("Content-Type", contentType)
		return nil
	}
	out := &lazyHeader{ResponseWriter: w, contentType: contentType}
	err := write(r.Context(), r.PathValue("job"), out)
	if err != nil && out.started {
		a.Logger.WarnContext(r.Context(), "a stream broke off", "path", r.URL.Path, "error", err)
		panic(http.ErrAbortHandler)
	}
	if err == nil && !out.started {
		_, err = out.Write(nil)
	}
	return err
}

// lazyHeader sends the header with the first byte, so that an error before it
// is still an answer of its own.
type lazyHeader struct {
	http.ResponseWriter
	contentType string
	started     bool
}

// Write implements io.Writer.
func (l *lazyHeader) Write(p []byte) (int, error) {
	if !l.started {
		l.started = true
		l.Header().Set("Content-Type", l.contentType)
	}
	return l.ResponseWriter.Write(p)
}
