package kube

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

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
	resourceVersion, isShared := strings.CutSuffix(string(old), shared)
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
		if err := yieldFields(o, &spec); err != nil {
			return registry.None, err
		}
	}
	return s.replaceSpec(ctx, model.Name, resourceVersion, spec)
}

// yieldFields keeps what another tool declares of a model as it is.
func yieldFields(o *modelObject, spec *modelSpec) error {
	declared := o.Metadata.declared()
	for _, field := range slices.Sorted(maps.Keys(declared)) {
		switch field {
		case "traffic", "shadow":
			if spec.Traffic != o.Spec.Traffic || spec.Shadow != o.Spec.Shadow {
				return modelmanager.Errorf(modelmanager.CodeManagedElsewhere,
					"setting the traffic of %s: %s manages it; change it there, or take spec.%s out of what it applies", o.Metadata.Name, declared[field], field)
			}
		case "summary":
			spec.Summary = o.Spec.Summary
		case "owner":
			spec.Owner = o.Spec.Owner
		case "repository":
			spec.Repository = o.Spec.Repository
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
	return revisionOf(name, body)
}

// change is one operation of a JSON patch.
type change struct {
	Operation string `json:"op"`
	Path      string `json:"path"`
	Value     any    `json:"value"`
}

// replaceSpec writes a model's spec if its object is still of a resource
// version, and leaves the rest of the object alone.
func (s *Store) replaceSpec(ctx context.Context, name, resourceVersion string, spec modelSpec) (registry.Revision, error) {
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return registry.None, err
	}
	defer cancel()
	data, err := json.Marshal([]change{
		{"replace", "/metadata/resourceVersion", resourceVersion}, // another one is a conflict
		{"add", "/spec", spec},
	})
	if err != nil {
		return registry.None, modelmanager.Errorf(modelmanager.CodeInternal, "writing model %s: %w", name, err)
	}
	request := s.request(s.client.Patch(types.JSONPatchType), models).Name(name).Param("fieldManager", Manager).Body(data)
	body, err := send(ctx, request)
	if apierrors.IsConflict(err) || lacksObject(err, name) {
		return changedMeanwhile(name)
	}
	if err != nil {
		return registry.None, failedIn(ctx, "writing model "+name, err)
	}
	return revisionOf(name, body)
}

func revisionOf(name string, body []byte) (registry.Revision, error) {
	var o modelObject
	if err := json.Unmarshal(body, &o); err != nil && o.Metadata.ResourceVersion == "" {
		return registry.None, modelmanager.Errorf(modelmanager.CodeInternal, "writing model %s: reading the answer: %w", name, err)
	}
	return o.revision(), nil
}
