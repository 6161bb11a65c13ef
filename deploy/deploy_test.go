// Package deploy_test keeps the manifests true: what they copy from the code
// equals it, and the chart gives what the kustomization gives.
package deploy_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	registrykube "modelmanager.dev/internal/registry/kube"
)

var update = flag.Bool("update", false, "write the copies again")

func TestDefinitionsAreTheCodes(t *testing.T) {
	for _, crd := range registrykube.CRDs() {
		name, _, _ := strings.Cut(crd.Name, ".")
		path := filepath.Join("kustomize", "base", "crds", name+".yaml")
		if *update {
			if err := os.WriteFile(path, crd.YAML, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		copied, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(crd.YAML), string(copied)); diff != "" {
			t.Errorf("%s is not the code's; go test ./deploy -update writes it again: %s", path, diff)
		}
	}
}
