package kube

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
)

const modelVersions = "modelversions" // the resource

// versionObject is a ModelVersion; crds/modelversions.yaml says what its
// fields mean.
type versionObject struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Metadata   metadata    `json:"metadata"`
	Spec       versionSpec `json:"spec"`
}

type versionSpec struct {
	Model      string                `json:"model"`
	Version    int                   `json:"version"`
	Digest     string                `json:"digest,omitempty"`
	Spec       string                `json:"spec"`
	Artifact   modelmanager.Artifact `json:"artifact"`
	Source     modelmanager.Source   `json:"source"`
	Created    string                `json:"created,omitempty"`
	By         string                `json:"by,omitempty"`
	ApprovedBy string                `json:"approvedBy,omitempty"`
}

func versionName(model string, number int) string { return model + "-" + strconv.Itoa(number) }

func (o *versionObject) version() modelmanager.Version {
	created, err := parseTime(o.Spec.Created)
	if err != nil {
		created, _ = parseTime(o.Metadata.CreationTimestamp)
	}
	return modelmanager.Version{
		Model: o.Spec.Model, Number: o.Spec.Version, Digest: o.Spec.Digest, Spec: o.Spec.Spec,
		Artifact: o.Spec.Artifact, Source: o.Spec.Source,
		Created: created, By: o.Spec.By, ApprovedBy: o.Spec.ApprovedBy,
	}
}

// CreateVersion implements registry.Store.
func (s *Store) CreateVersion(ctx context.Context, v modelmanager.Version) error {
	if err := checkVersion(v); err != nil {
		return err
	}
	if err := s.markGap(ctx, v.Model, v.Number); err != nil {
		return err
	}
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	number := strconv.Itoa(v.Number)
	data, err := json.Marshal(versionObject{
		APIVersion: group + "/" + version, Kind: "ModelVersion",
		Metadata: metadata{Name: versionName(v.Model, v.Number)},
		Spec: versionSpec{
			Model: v.Model, Version: v.Number, Digest: v.Digest, Spec: v.Spec,
			Artifact: v.Artifact, Source: v.Source,
			Created: formatTime(v.Created), By: v.By, ApprovedBy: v.ApprovedBy,
		},
	})
	doing := "keeping version " + number + " of " + v.Model
	if err != nil {
		return modelmanager.Errorf(modelmanager.CodeInternal, "%s: %w", doing, err)
	}
	_, err = send(ctx, s.request(s.client.Post(), modelVersions).Param("fieldManager", Manager).Body(data))
	if apierrors.IsAlreadyExists(err) {
		return modelmanager.Errorf(modelmanager.CodeConflict, "version %d of %s exists", v.Number, v.Model)
	}
	if err != nil {
		return failedIn(ctx, doing, err)
	}
	s.seen.note(v)
	return nil
}

// DeleteVersion implements registry.Store.
func (s *Store) DeleteVersion(ctx context.Context, model string, number int) error {
	if registry.CheckName(model) != nil || !validNumber(number) {
		return nil
	}
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	name := versionName(model, number)
	_, err = send(ctx, s.request(s.client.Delete(), modelVersions).Name(name))
	if err != nil && !lacksObject(err, name) {
		return failedIn(ctx, "deleting version "+name, err)
	}
	return nil
}

// checkVersion refuses what the cluster would, in plainer words.
func checkVersion(v modelmanager.Version) error {
	if err := registry.CheckName(v.Model); err != nil {
		return err
	}
	if !validNumber(v.Number) {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "keeping a version of %s: %d isn't a version's number", v.Model, v.Number)
	}
	if len(v.Spec) > registry.MaxSpec {
		return modelmanager.Errorf(modelmanager.CodeTooLarge,
			"keeping version %d of %s: its spec is %d KiB, the limit is %d KiB; put long lists and tables into the model's folder and read them from there",
			v.Number, v.Model, (len(v.Spec)+1023)>>10, registry.MaxSpec>>10)
	}
	return nil
}

func validNumber(number int) bool { return number >= 1 && number <= math.MaxInt32 }

func noVersion(model string, number int) error {
	return modelmanager.Errorf(modelmanager.CodeNotFound, "model %.80q has no version %d", model, number)
}

// Version implements registry.Store.
func (s *Store) Version(ctx context.Context, model string, number int) (modelmanager.Version, error) {
	if registry.CheckName(model) != nil || !validNumber(number) {
		return modelmanager.Version{}, noVersion(model, number)
	}
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return modelmanager.Version{}, err
	}
	defer cancel()
	name := versionName(model, number)
	body, err := send(ctx, s.request(s.client.Get(), modelVersions).Name(name))
	if lacksObject(err, name) {
		return modelmanager.Version{}, noVersion(model, number)
	}
	if err != nil {
		return modelmanager.Version{}, failedIn(ctx, "reading version "+name, err)
	}
	var o versionObject
	if err := json.Unmarshal(body, &o); err != nil {
		return modelmanager.Version{}, modelmanager.Errorf(modelmanager.CodeInternal, "reading version %s: %w", name, err)
	}
	v := o.version()
	s.seen.note(v)
	return v, nil
}

// Versions implements registry.Store.
func (s *Store) Versions(ctx context.Context, model string, before, limit int) ([]modelmanager.Version, error) {
	if registry.CheckName(model) != nil || limit <= 0 {
		return nil, nil
	}
	versions, err := s.walk(ctx, model, before, limit)
	if errors.Is(err, errGap) {
		return s.listVersions(ctx, model, before, limit)
	}
	return versions, err
}

// listVersions is Versions where the numbers have gaps.
func (s *Store) listVersions(ctx context.Context, model string, before, limit int) ([]modelmanager.Version, error) {
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	body, err := send(ctx, s.request(s.client.Get(), modelVersions).Param("fieldSelector", "spec.model="+model))
	if err != nil {
		return nil, failedIn(ctx, "listing the versions of "+model, err)
	}
	var list struct{ Items []versionObject }
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeInternal, "listing the versions of %s: %w", model, err)
	}
	slices.SortFunc(list.Items, func(a, b versionObject) int { return b.Spec.Version - a.Spec.Version })
	var versions []modelmanager.Version
	for _, o := range list.Items {
		if len(versions) < limit && (before == 0 || o.Spec.Version < before) {
			versions = append(versions, o.version())
		}
	}
	return versions, nil
}
