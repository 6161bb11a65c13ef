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

func (a *API) registerVersions(h huma.API) {
	register(h, huma.Operation{
		OperationID: "list-versions", Method: http.MethodGet, Path: "/v1/models/{model}/versions",
		Summary: "List a model's versions, newest first", Tags: []string{"versions"},
	}, a.listVersions)
	register(h, huma.Operation{
		OperationID: "get-version", Method: http.MethodGet, Path: "/v1/models/{model}/versions/{version}",
		Summary: "Show a version, with its spec", Tags: []string{"versions"},
	}, a.getVersion)
	register(h, huma.Operation{
		OperationID: "publish-version", Method: http.MethodPost, Path: "/v1/models/{model}/versions",
		Summary:       "Publish a version; the same content again answers the same version",
		Tags:          []string{"versions"},
		DefaultStatus: http.StatusCreated,
		Responses: map[string]*huma.Response{
			"200":     answerOf[modelmanager.PublishResult](h, "The same content was published before, as this version"),
			"201":     answerOf[modelmanager.PublishResult](h, "The version was published"),
			"default": problemResponse(h),
		},
	}, a.publishVersion)
	a.registerRollOut(h)
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
		list.Versions[i].Spec, list.Versions[i].Source.Lock = nil, ""
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

func (a *API) versionLogs(w http.ResponseWriter, r *http.Request) error {
	ref, err := pathRef(r)
	if err != nil {
		return err
	}
	if _, err := a.Registry.Version(r.Context(), ref.Model, ref.Version); err != nil {
		return err
	}
	lines, err := linesOf(r)
	if err != nil {
		return err
	}
	logs, err := a.Platform.Logs(r.Context(), ref, lines)
	if err != nil {
		return err
	}
	defer logs.Close()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.Copy(w, logs)
	return nil
}

// Lines of a log: so many if the caller doesn't say, and at most.
const (
	defaultLines = 200
	maxLines     = 100_000
)

func linesOf(r *http.Request) (int, error) {
	text := r.URL.Query().Get("lines")
	if text == "" {
		return defaultLines, nil
	}
	lines, err := strconv.Atoi(text)
	if err != nil || lines < 1 || lines > maxLines {
		return 0, modelmanager.Errorf(modelmanager.CodeBadRequest, "lines is %q; it is a number from 1 to %d", shortened(text), maxLines)
	}
	return lines, nil
}

// pathRef reads the version that a path names.
func pathRef(r *http.Request) (platform.Ref, error) {
	ref := platform.Ref{Model: r.PathValue("model")}
	if text := r.PathValue("version"); text != "" {
		number, err := strconv.Atoi(text)
		if err != nil || number < 1 {
			return ref, modelmanager.Errorf(modelmanager.CodeBadRequest, "%q is not a version; versions are 1, 2, 3 …", shortened(text))
		}
		ref.Version = number
	}
	return ref, nil
}
