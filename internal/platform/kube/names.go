package kube

import (
	"fmt"
	"strconv"

	"modelmanager.dev/internal/platform"
)

// fieldManager owns the fields that the driver sets.
const fieldManager = "model-manager"

// Labels of everything that the driver makes.
const (
	labelManagedBy = "app.kubernetes.io/managed-by"
	labelComponent = "app.kubernetes.io/component"
	labelModel     = "modelmanager.dev/model"
	labelVersion   = "modelmanager.dev/version"
	labelJob       = "modelmanager.dev/job"
	labelStep      = "modelmanager.dev/step"
	labelEgress    = "modelmanager.dev/egress"
	labelQueue     = "kueue.x-k8s.io/queue-name"

	managedBy        = "model-manager"
	componentReplica = "replica"
	componentTask    = "task"
)

// Annotations.
const (
	annotationNetwork = "modelmanager.dev/network" // of pods: the spec's network
	annotationOnly    = "modelmanager.dev/indexes" // of Jobs: see agent.Task.Only
	annotationTimeout = "modelmanager.dev/timeout" // of Jobs: JobRun.Timeout
	// Of Jobs: JobRun.Parallelism, as the Job's own changes (see takeTurns), and
	// when the cluster was last asked to try to make its pods again.
	annotationParallelism = "modelmanager.dev/parallelism"
	annotationNudged      = "modelmanager.dev/nudged"
)

// selectReplicas and selectTasks choose pods, Deployments and Jobs.
const (
	selectReplicas = labelManagedBy + "=" + managedBy + "," + labelComponent + "=" + componentReplica
	selectTasks    = labelManagedBy + "=" + managedBy + "," + labelComponent + "=" + componentTask
)

func deploymentName(ref platform.Ref) string { return fmt.Sprintf("%s-%d", ref.Model, ref.Version) }

func jobName(job string, step platform.Step) string { return job + "-" + string(step) }

func replicaLabels(ref platform.Ref) map[string]string {
	return map[string]string{
		labelManagedBy: managedBy, labelComponent: componentReplica,
		labelModel: ref.Model, labelVersion: strconv.Itoa(ref.Version),
	}
}

func taskLabels(ref platform.Ref, job string, step platform.Step) map[string]string {
	labels := replicaLabels(ref)
	labels[labelComponent], labels[labelJob], labels[labelStep] = componentTask, job, string(step)
	return labels
}

// refOf reads a version back from labels.
func refOf(labels map[string]string) (platform.Ref, bool) {
	version, err := strconv.Atoi(labels[labelVersion])
	return platform.Ref{Model: labels[labelModel], Version: version}, err == nil && labels[labelModel] != ""
}
