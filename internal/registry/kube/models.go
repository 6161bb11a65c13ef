package kube

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
)

const models = "models" // the resource

func (s *Store) request(request *rest.Request, resource string) *rest.Request {
	return request.Namespace(s.options.Namespace).Resource(resource)
}

// send sends a request, and returns the answer's body.
func send(ctx context.Context, request *rest.Request) ([]byte, error) {
	result := request.Do(ctx)
	if err := result.Error(); err != nil {
		return nil, err
	}
	return result.Raw()
}

// Model implements registry.Store.
func (s *Store) Model(ctx context.Context, name string) (modelmanager.Model, registry.Revision, error) {
	o, err := s.modelObject(ctx, name)
	if err != nil {
		return modelmanager.Model{}, registry.None, err
	}
	model, _ := o.model() // Watch tells the problems
	return model, o.revision(), nil
}

func (s *Store) modelObject(ctx context.Context, name string) (*modelObject, error) {
	if registry.CheckName(name) != nil {
		return nil, noModel(name)
	}
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	body, err := send(ctx, s.request(s.client.Get(), models).Name(name))
	if lacksObject(err, name) {
		return nil, noModel(name)
	}
	if err != nil {
		return nil, failedIn(ctx, "reading model "+name, err)
	}
	o := new(modelObject)
	if err := json.Unmarshal(body, o); err != nil && o.Metadata.ResourceVersion == "" {
		return nil, modelmanager.Errorf(modelmanager.CodeInternal, "reading model %s: %w", name, err)
	}
	return o, nil
}

// PutModel implements registry.Store.
func (s *Store) PutModel(ctx context.Context, model modelmanager.Model, old registry.Revision) (registry.Revision, error) {
	if err := registry.CheckName(model.Name); err != nil {
		return registry.None, err
	}
	spec, err := newModelSpec(model)
	if err != nil {
		return registry.None, err
	}
	if old == registry.None {
		return s.createModel(ctx, model.Name, spec)
	}
	of, isShared := parseRevision(old)
	of.Name = model.Name
	var declared map[string]string
	if isShared {
		o, err := s.modelObject(ctx, model.Name)
		switch {
		case modelmanager.CodeOf(err) == modelmanager.CodeNotFound:
			return changedMeanwhile(model.Name)
		case err != nil:
			return registry.None, err
		case o.revision() != old:
			return changedMeanwhile(model.Name)
		}
		declared = o.Metadata.declared()
		if err := yieldFields(o, declared, &spec); err != nil {
			return registry.None, err
		}
	}
	return s.applyModel(ctx, of, spec, declared)
}

// yieldFields leaves what another tool declares of a model to it.
func yieldFields(o *modelObject, declared map[string]string, spec *modelSpec) error {
	for _, field := range slices.Sorted(maps.Keys(declared)) {
		if (field == "traffic" || field == "shadow") && (spec.Traffic != o.Spec.Traffic || spec.Shadow != o.Spec.Shadow) {
			return modelmanager.Errorf(modelmanager.CodeManagedElsewhere,
				"setting the traffic of %s: %s manages it; change it there, or take spec.%s out of what it applies", o.Metadata.Name, declared[field], field)
		}
	}
	for field := range declared {
		switch field {
		case "traffic":
			spec.Traffic = ""
		case "shadow":
			spec.Shadow = 0
		case "summary":
			spec.Summary = ""
		case "owner":
			spec.Owner = ""
		case "repository":
			spec.Repository = ""
		}
	}
	return nil
}

func (s *Store) createModel(ctx context.Context, name string, spec modelSpec) (registry.Revision, error) {
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return registry.None, err
	}
	defer cancel()
	data, err := json.Marshal(modelObject{
		APIVersion: group + "/" + version, Kind: "Model",
		Metadata: metadata{Name: name},
		Spec:     spec,
	})
	if err != nil {
		return registry.None, modelmanager.Errorf(modelmanager.CodeInternal, "writing model %s: %w", name, err)
	}
	body, err := send(ctx, s.request(s.client.Post(), models).Param("fieldManager", Manager).Body(data))
	if apierrors.IsAlreadyExists(err) {
		return changedMeanwhile(name)
	}
	if err != nil {
		return registry.None, failedIn(ctx, "writing model "+name, err)
	}
	o, err := readWritten(name, body)
	return s.patched(name, o, err)
}

// applyModel writes a model's spec by server-side apply if its object is still
// the one of a resource version and a UID: without the latter, apply would make
// an object that was deleted anew. Fields that other tools declare aren't in it, and stay.
func (s *Store) applyModel(ctx context.Context, of metadata, spec modelSpec, declared map[string]string) (registry.Revision, error) {
	name := of.Name
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return registry.None, err
	}
	defer cancel()
	data, err := json.Marshal(modelObject{
		APIVersion: group + "/" + version, Kind: "Model",
		Metadata: of,
		Spec:     spec,
	})
	if err != nil {
		return registry.None, modelmanager.Errorf(modelmanager.CodeInternal, "writing model %s: %w", name, err)
	}
	// Forced, since what was set by hand counts as a setting like any other.
	o, err := s.patchModel(ctx, name, s.request(s.client.Patch(types.ApplyYAMLPatchType), models).Param("force", "true").Body(data))
	if err != nil || o == nil {
		return s.patched(name, o, err)
	}
	removals := []change{{"replace", "/metadata/resourceVersion", o.Metadata.ResourceVersion}}
	for _, field := range o.Spec.unasked(spec) {
		if _, elsewhere := declared[field]; !elsewhere {
			removals = append(removals, change{"remove", "/spec/" + field, nil})
		}
	}
	if len(removals) > 1 {
		data, err := json.Marshal(removals)
		if err != nil {
			return registry.None, modelmanager.Errorf(modelmanager.CodeInternal, "writing model %s: %w", name, err)
		}
		o, err = s.patchModel(ctx, name, s.request(s.client.Patch(types.JSONPatchType), models).Body(data))
		return s.patched(name, o, err)
	}
	return s.patched(name, o, nil)
}

// unasked returns the fields that a spec has though another one, which was
// applied, has them not: apply takes out only what was applied before, and
// not what came with the object's creation or was set by hand.
func (s modelSpec) unasked(applied modelSpec) []string {
	var fields []string
	check := func(field string, has, asked bool) {
		if has && !asked {
			fields = append(fields, field)
		}
	}
	check("summary", s.Summary != "", applied.Summary != "")
	check("owner", s.Owner != "", applied.Owner != "")
	check("repository", s.Repository != "", applied.Repository != "")
	check("traffic", s.Traffic != "", applied.Traffic != "")
	check("shadow", s.Shadow != 0, applied.Shadow != 0)
	check("latest", s.Latest != 0, applied.Latest != 0)
	check("retired", s.Retired != nil, applied.Retired != nil)
	return fields
}

// change is one operation of a JSON patch.
type change struct {
	Operation string `json:"op"`
	Path      string `json:"path"`
	Value     any    `json:"value,omitempty"`
}

// patchModel sends a patch of a model, and returns its object; nil if it was
// changed meanwhile.
func (s *Store) patchModel(ctx context.Context, name string, request *rest.Request) (*modelObject, error) {
	body, err := send(ctx, request.Name(name).Param("fieldManager", Manager))
	if apierrors.IsConflict(err) || lacksObject(err, name) {
		return nil, nil
	}
	if err != nil {
		return nil, failedIn(ctx, "writing model "+name, err)
	}
	return readWritten(name, body)
}

func (s *Store) patched(name string, o *modelObject, err error) (registry.Revision, error) {
	switch {
	case err != nil:
		return registry.None, err
	case o == nil:
		return changedMeanwhile(name)
	}
	return o.revision(), nil
}

// readWritten reads the answer to a write.
func readWritten(name string, body []byte) (*modelObject, error) {
	o := new(modelObject)
	if err := json.Unmarshal(body, o); err != nil && o.Metadata.ResourceVersion == "" {
		return nil, modelmanager.Errorf(modelmanager.CodeInternal, "writing model %s: reading the answer: %w", name, err)
	}
	return o, nil
}
