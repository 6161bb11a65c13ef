package kube

import (
	"fmt"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
)

const (
	// finishedJobs is how long a finished Job stays that nobody has removed.
	// StopJob removes it as soon as its results are on record.
	finishedJobs = 7 * 24 * time.Hour
	// taskGrace is what a task may take to end when it is told to.
	taskGrace = 10 * time.Second
	// deadlineMargin is what a task may run beyond the time of its step, before
	// the cluster ends it: the driver ends steps, unless no server is there.
	deadlineMargin = time.Minute
	// longestIndexes bounds the list of indexes in a Job's annotation.
	longestIndexes = 128 << 10
)

// remaining returns the indexes of a run's tasks that are to be run, as
// agent.Task.Only: "" means all. A list that is too long to be kept is made
// shorter by running tasks again that are done; they find nothing to do.
func remaining(run platform.JobRun) (indexes []int, only string) {
	done := make(map[int]bool, len(run.Done))
	for _, index := range run.Done {
		done[index] = true
	}
	for index := range run.Count {
		if !done[index] {
			indexes = append(indexes, index)
		}
	}
	if len(indexes) == run.Count || len(indexes) == 0 {
		return indexes, ""
	}
	only = agent.Indexes(indexes)
	for gap := 2; len(only) > longestIndexes; gap *= 2 {
		indexes = closeGaps(indexes, gap)
		only = agent.Indexes(indexes)
	}
	return indexes, only
}

// closeGaps adds the indexes that are missing between two that are at most gap
// apart.
func closeGaps(indexes []int, gap int) []int {
	var closed []int
	for i, index := range indexes {
		if i > 0 && index-indexes[i-1] <= gap {
			for between := indexes[i-1] + 1; between < index; between++ {
				closed = append(closed, between)
			}
		}
		closed = append(closed, index)
	}
	return closed
}

// taskSecret is the configuration of a step's tasks.
func (o *Options) taskSecret(run platform.JobRun, only string) (*corev1.Secret, error) {
	config := agentConfig(run.Workload)
	config.Task = &agent.Task{Server: run.Server, Job: run.Job, Step: string(run.Step), Only: only}
	return o.secret(secretPlan{
		name: jobName(run.Job, run.Step), labels: taskLabels(run.Workload.Ref(), run.Job, run.Step),
		config: config, field: tokenField, value: run.Token,
	})
}

// job is a step of a job, with completions tasks.
func (o *Options) job(run platform.JobRun, completions int, only, secret string, source AgentSource) *batchv1.Job {
	labels := taskLabels(run.Workload.Ref(), run.Job, run.Step)
	parallelism := min(max(run.Parallelism, 1), max(completions, 1))
	annotations := map[string]string{annotationTimeout: run.Timeout.String(), annotationParallelism: strconv.Itoa(parallelism)}
	if only != "" {
		annotations[annotationOnly] = only
	}
	var deadline time.Duration
	if run.Timeout > 0 {
		deadline = run.Timeout + deadlineMargin
	}
	template := o.template(podPlan{
		workload: run.Workload, labels: labels, secret: secret, source: source, priorityClass: o.BatchPriorityClass,
		grace: taskGrace, deadline: deadline, restart: corev1.RestartPolicyNever,
		env: []corev1.EnvVar{
			fromSecret(agent.VariableToken, secret, tokenField),
			{Name: agent.VariableFailures, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{
				FieldPath: fmt.Sprintf("metadata.annotations['%s']", batchv1.JobIndexFailureCountAnnotation),
			}}},
		},
	})
	job := &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: o.Namespace, Name: jobName(run.Job, run.Step), Labels: labels, Annotations: annotations,
		},
		Spec: batchv1.JobSpec{
			CompletionMode:          new(batchv1.IndexedCompletion),
			Completions:             new(int32(completions)),
			Parallelism:             new(int32(parallelism)),
			BackoffLimitPerIndex:    new(int32(run.Retries)),
			PodReplacementPolicy:    new(batchv1.Failed),
			PodFailurePolicy:        failurePolicy(),
			TTLSecondsAfterFinished: new(int32(finishedJobs / time.Second)),
			Template:                template,
		},
	}
	if o.Queue != "" {
		// The queue lets it begin, and may take it back.
		job.Labels = taskLabels(run.Workload.Ref(), run.Job, run.Step)
		job.Labels[labelQueue] = o.Queue
		job.Spec.Suspend = new(true)
	}
	return job
}

// failurePolicy says which ends of a task count. That of a pod whose node goes
// away doesn't; a model's fault fails the index at once; any other counts
// against its retries.
func failurePolicy() *batchv1.PodFailurePolicy {
	onExit := func(action batchv1.PodFailurePolicyAction, code int32) batchv1.PodFailurePolicyRule {
		return batchv1.PodFailurePolicyRule{Action: action, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
			ContainerName: new(modelContainer), Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{code},
		}}
	}
	return &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{
		{Action: batchv1.PodFailurePolicyActionIgnore, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{
			{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue},
		}},
		onExit(batchv1.PodFailurePolicyActionFailIndex, agent.ExitModelFault),
		onExit(batchv1.PodFailurePolicyActionCount, agent.ExitStorageFault),
	}}
}

// hasImage refuses versions that have none.
func hasImage(w platform.Workload) error {
	if w.Version.Artifact.Image != "" {
		return nil
	}
	return modelmanager.Errorf(modelmanager.CodeBadRequest,
		"%s was published without an image, and this server runs models on Kubernetes; publish it to this server again", w.Ref())
}
