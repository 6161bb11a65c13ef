package kube

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"modelmanager.dev"
)

func TestTolerationsAreWrittenAsTaints(t *testing.T) {
	got, err := ParseTolerations([]string{"models", "pool=models:NoSchedule", "node.kubernetes.io/unreachable:NoExecute", "empty="})
	if err != nil {
		t.Fatal(err)
	}
	want := []corev1.Toleration{
		{Key: "models", Operator: corev1.TolerationOpExists},
		{Key: "pool", Operator: corev1.TolerationOpEqual, Value: "models", Effect: corev1.TaintEffectNoSchedule},
		{Key: "node.kubernetes.io/unreachable", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
		{Key: "empty", Operator: corev1.TolerationOpEqual},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
	for _, text := range []string{"", ":NoSchedule", "a:Sometimes"} {
		if _, err := ParseTolerations([]string{text}); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
			t.Errorf("%q: %v", text, err)
		}
	}
}
