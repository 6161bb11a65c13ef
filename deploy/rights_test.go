package deploy_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	platformkube "modelmanager.dev/internal/platform/kube"
)

// TestRightsAreWhatThePlatformNeeds: in the models' namespace the server has
// the rights of its registry, and those of its platform, and no other.
func TestRightsAreWhatThePlatformNeeds(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("kustomize", "base", "rights.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var got []rbacv1.PolicyRule
	for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
		var role rbacv1.Role
		if err := yaml.Unmarshal(document, &role); err != nil {
			t.Fatal(err)
		}
		if role.Kind == "Role" && role.Namespace == "modelmanager-models" {
			got = append(got, role.Rules...)
		}
	}
	got = slices.DeleteFunc(got, func(rule rbacv1.PolicyRule) bool { return slices.Equal(rule.APIGroups, []string{"modelmanager.dev"}) })
	if diff := cmp.Diff(sorted(platformkube.Rules()), sorted(got)); diff != "" {
		t.Errorf("the rights differ from platform/kube.Rules (-needed +given): %s", diff)
	}
}

func sorted(rules []rbacv1.PolicyRule) map[string][]string {
	verbs := map[string][]string{}
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				verbs[group+"/"+resource] = slices.Sorted(slices.Values(append(verbs[group+"/"+resource], rule.Verbs...)))
			}
		}
	}
	return verbs
}
