package kube

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
)

// drainMargin is what a replica may take to end beyond its longest call.
const drainMargin = 20 * time.Second

// replicaSecret is the configuration of a version's replicas.
func (o *Options) replicaSecret(w platform.Workload) (*corev1.Secret, error) {
	config := agentConfig(w)
	config.Listen = fmt.Sprintf("tcp::%d", Port)
	return o.secret(secretPlan{
		name: deploymentName(w.Ref()), labels: replicaLabels(w.Ref()), config: config, field: keyField, value: w.Key,
	})
}

// deployment is a version with so many replicas.
func (o *Options) deployment(w platform.Workload, replicas int, secret string, source AgentSource) *appsv1.Deployment {
	labels := replicaLabels(w.Ref())
	template := o.template(podPlan{
		workload: w, labels: labels, secret: secret, source: source, priorityClass: o.PriorityClass,
		grace:   time.Duration(w.Spec.Timeouts.Predict) + drainMargin,
		restart: corev1.RestartPolicyAlways,
		env:     []corev1.EnvVar{fromSecret(agent.VariableKey, secret, keyField)},
		probe:   readiness(), lifecycle: lateToStop(),
	})
	template.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
		MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway,
		LabelSelector: &metav1.LabelSelector{MatchLabels: labels},
	}}
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: deploymentName(w.Ref()), Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas:             new(int32(min(replicas, 1<<30))),
			Selector:             &metav1.LabelSelector{MatchLabels: labels},
			RevisionHistoryLimit: new(int32(0)), // a change is told again, never taken back
			// A change, such as a new agent, never makes fewer replicas answer.
			Strategy: appsv1.DeploymentStrategy{
				Type: appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{
					MaxSurge: new(intstr.FromString("25%")), MaxUnavailable: new(intstr.FromInt32(0)),
				},
			},
			Template: template,
		},
	}
}
