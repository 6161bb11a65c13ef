package kube

import (
	"context"
	"embed"
	"encoding/json"
	"net/http"
	"path"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"modelmanager.dev"
)

//go:embed crds/*.yaml
var crds embed.FS

// CRD is the definition of one kind of objects.
type CRD struct {
	Name string // of the object, such as models.modelmanager.dev
	YAML []byte
}

// CRDs returns the definitions of Model and ModelVersion, as they are
// installed on a cluster.
func CRDs() []CRD {
	var all []CRD
	for _, name := range []string{"models", "modelversions"} {
		data, err := crds.ReadFile(path.Join("crds", name+".yaml"))
		if err != nil {
			panic(err) // the program was built without it
		}
		all = append(all, CRD{Name: name + "." + group, YAML: data})
	}
	return all
}

// InstallCRDs applies the definitions to a cluster, and returns when the
// cluster serves their kinds.
func InstallCRDs(ctx context.Context, config *rest.Config) error {
	client, err := rest.UnversionedRESTClientFor(clientConfig(config))
	if err != nil {
		return modelmanager.Errorf(modelmanager.CodeInternal, "installing the kinds of Model Manager: %w", err)
	}
	for _, crd := range CRDs() {
		definition, err := yaml.YAMLToJSON(crd.YAML)
		if err != nil {
			return modelmanager.Errorf(modelmanager.CodeInternal, "reading the definition of %s: %w", crd.Name, err)
		}
		address := "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/" + crd.Name
		err = client.Patch(types.ApplyPatchType).AbsPath(address).Param("fieldManager", Manager).Param("force", "true").
			Body(definition).Do(ctx).Error()
		if err != nil {
			return failed("installing "+crd.Name, err)
		}
		if err := waitEstablished(ctx, client, address); err != nil {
			return err
		}
	}
	return nil
}

// waitEstablished waits until a kind is served.
func waitEstablished(ctx context.Context, client *rest.RESTClient, address string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		body, err := client.Get().AbsPath(address).Do(ctx).Raw()
		if err != nil {
			return failed("waiting for "+path.Base(address), err)
		}
		var crd struct {
			Status struct {
				Conditions []struct{ Type, Status, Message string }
			}
		}
		if err := json.Unmarshal(body, &crd); err != nil {
			return failed("waiting for "+path.Base(address), err)
		}
		for _, condition := range crd.Status.Conditions {
			if condition.Type == "Established" && condition.Status == "True" && served(ctx, client) {
				return nil
			}
			if condition.Type == "NamesAccepted" && condition.Status == "False" {
				return modelmanager.Errorf(modelmanager.CodeConflict, "installing %s: the cluster has another kind of that name: %s", path.Base(address), condition.Message)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return failed("waiting for "+path.Base(address), ctx.Err())
		}
	}
}

// served tells whether the cluster answers for the group: a moment after a
// kind is established, it may not yet.
func served(ctx context.Context, client *rest.RESTClient) bool {
	status := 0
	err := client.Get().AbsPath("/apis", group, version).Do(ctx).StatusCode(&status).Error()
	return err == nil && status == http.StatusOK
}
