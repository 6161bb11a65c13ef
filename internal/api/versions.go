package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"modelmanager.dev"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/problem"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/spec"
)

// VersionPath names a version.
type VersionPath struct {
	ModelPath
	Version int `path:"version" minimum:"1"`
}

type listVersionsInput struct {
	ModelPath
	PageQuery
}

type publishInput struct {
	ModelPath
	Key  string `header:"Idempotency-Key" maxLength:"200"`
	Body modelmanager.PublishRequest
}

func (a *API) registerVersions(h huma.API) {
	huma.Register(h, huma.Operation{
		OperationID: "list-versions", Method: http.MethodGet, Path: "/v1/models/{model}/versions",
		Summary: "List a model's versions, newest first", Tags: []string{"versions"},
	}, a.listVersions)
	huma.Register(h, huma.Operation{
		OperationID: "get-version", Method: http.MethodGet, Path: "/v1/models/{model}/versions/{version}",
		Summary: "Show a version, with its spec", Tags: []string{"versions"},
	}, a.getVersion)
	huma.Register(h, huma.Operation{
		OperationID: "publish-version", Method: http.MethodPost, Path: "/v1/models/{model}/versions",
		Summary:       "Publish a version; the same content again answers the same version",
		Tags:          []string{"versions"},
		MaxBodyBytes:  1 << 20,
		DefaultStatus: http.StatusCreated,
	}, a.publishVersion)
	a.registerDiff(h)
	a.plain(h, huma.Operation{
		OperationID: "version-logs", Method: http.MethodGet, Path: "/v1/models/{model}/versions/{version}/logs",
		Summary: "What the version's workers have written, the last lines", Tags: []string{"versions"},
		Parameters: []*huma.Param{{Name: "lines", In: "query", Schema: &huma.Schema{Type: "integer"}}},
	}, "text/plain", a.versionLogs)
}

func (a *API) listVersions(ctx context.Context, in *listVersionsInput) (*body[modelmanager.VersionList], error) {
	before := 0
	if in.PageToken != "" {
		var err error
		if before, err = strconv.Atoi(in.PageToken); err != nil || before < 1 {
			return nil, a.failed(ctx, modelmanager.Errorf(modelmanager.CodeBadRequest, "%q is not a page_token of this list", in.PageToken))
		}
	}
	model, err := a.Registry.Get(ctx, in.Model)
	if err != nil && modelmanager.CodeOf(err) != modelmanager.CodeRetired {
		return nil, a.failed(ctx, err)
	}
	versions, err := a.Registry.Versions(ctx, in.Model, before, in.Limit)
	if err != nil {
		return nil, a.failed(ctx, err)
	}
	list := modelmanager.VersionList{Versions: make([]modelmanager.VersionInfo, len(versions))}
	for i, version := range versions {
		list.Versions[i] = a.versionInfo(model, version)
		list.Versions[i].Spec = nil
	}
	if len(versions) == in.Limit && versions[len(versions)-1].Number > 1 {
		list.NextPageToken = strconv.Itoa(versions[len(versions)-1].Number)
	}
	return answer(list), nil
}

func (a *API) getVersion(ctx context.Context, in *VersionPath) (*body[modelmanager.VersionInfo], error) {
	model, err := a.Registry.Get(ctx, in.Model)
	if err != nil && modelmanager.CodeOf(err) != modelmanager.CodeRetired {
		return nil, a.failed(ctx, err)
	}
	version, err := a.Registry.Version(ctx, in.Model, in.Version)
	if err != nil {
		return nil, a.failed(ctx, err)
	}
	return answer(a.versionInfo(model, version)), nil
}

func (a *API) versionInfo(model modelmanager.Model, version modelmanager.Version) modelmanager.VersionInfo {
	info := modelmanager.VersionInfo{
		Model: version.Model, Version: version.Number, Digest: version.Digest,
		Spec: json.RawMessage(version.Spec), Artifact: version.Artifact, Source: version.Source,
		Created: version.Created, By: version.By, ApprovedBy: version.ApprovedBy,
		Health: a.Platform.Health(platform.Ref{Model: version.Model, Version: version.Number}),
	}
	for _, share := range model.Traffic().Versions {
		if share.Version == version.Number {
			info.Percent = share.Percent
		}
	}
	return info
}

func (a *API) publishVersion(ctx context.Context, in *publishInput) (*body[modelmanager.PublishResult], error) {
	result, err := a.Publish(ctx, in.Model, in.Body)
	if err != nil {
		return nil, a.failed(ctx, err)
	}
	return answer(result), nil
}

// Publish keeps a version and rolls it out as its spec asks for. It is
// idempotent by content: the same spec and artifact are the same version.
func (a *API) Publish(ctx context.Context, name string, request modelmanager.PublishRequest) (modelmanager.PublishResult, error) {
	var none modelmanager.PublishResult
	s, err := spec.FromCanonical(string(request.Spec))
	if err != nil {
		return none, err
	}
	if s.Name != name {
		return none, modelmanager.Errorf(modelmanager.CodeBadRequest,
			"publishing %s: the spec is of %q; publish it under its own name", name, s.Name)
	}
	var artifact modelmanager.Artifact
	switch {
	case request.Artifact.Upload != "" && request.Artifact.Image != "":
		return none, modelmanager.Errorf(modelmanager.CodeBadRequest, "publishing %s: give an upload or an image, not both", name)
	case request.Artifact.Upload != "":
		artifact, err = a.Adopt(ctx, request.Artifact.Upload)
	case request.Artifact.Image != "":
		artifact, err = imageArtifact(request.Artifact.Image)
	default:
		err = modelmanager.Errorf(modelmanager.CodeBadRequest, "publishing %s: there is no artifact; give an upload or an image", name)
	}
	if err != nil {
		return none, err
	}
	version, created, err := a.Registry.Publish(ctx, registry.Publication{
		Spec: s, Artifact: artifact, Source: request.Source, Number: request.Version,
		By: caller(ctx), Reason: request.Reason,
	})
	if err != nil {
		return none, err
	}
	if !request.Hold {
		if err := a.rollOut(ctx, s, version, request.Reason); err != nil {
			return none, err
		}
	}
	model, err := a.Registry.Get(ctx, name)
	if err != nil {
		return none, err
	}
	return modelmanager.PublishResult{VersionInfo: a.versionInfo(model, version), New: created}, nil
}

func (a *API) versionLogs(w http.ResponseWriter, r *http.Request) error {
	ref, err := pathRef(r)
	if err != nil {
		return err
	}
	if _, err := a.Registry.Version(r.Context(), ref.Model, ref.Version); err != nil {
		return err
	}
	lines, _ := strconv.Atoi(r.URL.Query().Get("lines"))
	logs, err := a.Platform.Logs(r.Context(), ref, lines)
	if err != nil {
		return err
	}
	defer logs.Close()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = io.Copy(w, logs)
	return nil
}

// pathRef reads the version that a path names.
func pathRef(r *http.Request) (platform.Ref, error) {
	ref := platform.Ref{Model: r.PathValue("model")}
	if text := r.PathValue("version"); text != "" {
		number, err := strconv.Atoi(text)
		if err != nil || number < 1 {
			return ref, modelmanager.Errorf(modelmanager.CodeBadRequest, "%q is not a version; versions are 1, 2, 3 …", text)
		}
		ref.Version = number
	}
	return ref, nil
}

// plain mounts a handler that streams, and describes it in the OpenAPI document.
func (a *API) plain(h huma.API, operation huma.Operation, contentType string, handler func(http.ResponseWriter, *http.Request) error) {
	if operation.Responses == nil {
		operation.Responses = map[string]*huma.Response{
			"200":     {Description: "OK", Content: map[string]*huma.MediaType{contentType: {}}},
			"default": {Description: "A problem", Content: map[string]*huma.MediaType{problem.ContentType: {}}},
		}
	}
	describePath(&operation)
	h.OpenAPI().AddOperation(&operation)
	a.mux.HandleFunc(operation.Method+" "+operation.Path, func(w http.ResponseWriter, r *http.Request) {
		if err := handler(w, r); err != nil {
			a.writeError(w, r, err)
		}
	})
}

func (a *API) writeError(w http.ResponseWriter, r *http.Request, err error) {
	if modelmanager.CodeOf(err) == modelmanager.CodeInternal {
		a.Logger.ErrorContext(r.Context(), "a call failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	problem.Write(w, err)
}

// describePath adds the path's own parameters to an operation.
func describePath(operation *huma.Operation) {
	for _, name := range []string{"model", "version", "job"} {
		schema := &huma.Schema{Type: "string"}
		if name == "version" {
			schema.Type = "integer"
		}
		if containsSegment(operation.Path, "{"+name+"}") {
			operation.Parameters = append(operation.Parameters, &huma.Param{Name: name, In: "path", Required: true, Schema: schema})
		}
	}
}
