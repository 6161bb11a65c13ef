package kube

import (
	"context"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	policyapply "k8s.io/client-go/applyconfigurations/policy/v1"

	"modelmanager.dev/internal/platform"
)

// budget lets a node that is drained have one replica of a version at a time,
// so that those that are left answer until another has taken its place. The
// only replica of a version may be taken, too, or nodes could never be drained.
func (o *Options) budget(ref platform.Ref, owner metav1.OwnerReference) *policyv1.PodDisruptionBudget {
	labels := replicaLabels(ref)
	return &policyv1.PodDisruptionBudget{
		TypeMeta: metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: o.Namespace, Name: deploymentName(ref), Labels: labels, OwnerReferences: []metav1.OwnerReference{owner},
		},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: new(intstr.FromInt32(1)),
			Selector:       &metav1.LabelSelector{MatchLabels: labels},
			// One that doesn't answer anyway is not to keep a node from being drained.
			UnhealthyPodEvictionPolicy: new(policyv1.AlwaysAllow),
		},
	}
}

// giveBudget gives a version with several replicas its budget, which goes with
// its Deployment. A version without one runs as well, so nothing fails for it.
func (d *Driver) giveBudget(ctx context.Context, ref platform.Ref, owner metav1.OwnerReference) {
	d.mu.Lock()
	known := d.budgets[owner.Name] == owner.UID
	d.mu.Unlock()
	if known {
		return
	}
	var configuration policyapply.PodDisruptionBudgetApplyConfiguration
	err := convert(d.options.budget(ref, owner), &configuration)
	if err == nil {
		configuration.Status = nil
		_, err = d.client.PolicyV1().PodDisruptionBudgets(d.options.Namespace).Apply(ctx, &configuration, applied)
	}
	if err != nil {
		if ctx.Err() == nil {
			d.options.Logger.Warn("a drained node may take all replicas of a version at once", "model", ref.Model, "version", ref.Version, "error", err)
		}
		return
	}
	d.mu.Lock()
	d.budgets[owner.Name] = owner.UID
	d.mu.Unlock()
}
