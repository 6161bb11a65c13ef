package kube

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev"
	"modelmanager.dev/internal/pause"
	"modelmanager.dev/internal/platform"
)

// StartJob implements platform.Driver. A step whose Job is there, running or
// failed, is told of again; one that has succeeded, whose results whoever calls
// can't find, is run anew.
func (d *Driver) StartJob(ctx context.Context, run platform.JobRun) error {
	leading := ctx.Done()
	ctx, done, err := d.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := hasImage(run.Workload); err != nil {
		return err
	}
	source, err := d.agentSource()
	if err != nil {
		return err
	}
	indexes, only := remaining(run)
	secret, err := d.options.taskSecret(run, only)
	if err != nil {
		return err
	}
	doing := fmt.Sprintf("starting step %s of job %s", run.Step, run.Job)
	made, err := d.createSecret(ctx, secret)
	if err != nil {
		return unreachable(doing, err)
	}
	planned := d.options.job(run, len(indexes), only, secret.Name, source)
	jobs := d.client.BatchV1().Jobs(d.options.Namespace)
	for {
		d.take(stepKey{run.Job, run.Step}, leading)
		job, err := jobs.Create(ctx, planned, metav1.CreateOptions{FieldManager: fieldManager})
		if err == nil {
			if err := d.giveNetwork(ctx, jobOwner(job), taskLabels(run.Workload.Ref(), run.Job, run.Step), run.Workload.Spec.Network); err != nil {
				return unreachable(doing, err)
			}
			return unreachable(doing, d.giveSecret(ctx, secret, jobOwner(job)))
		}
		if !apierrors.IsAlreadyExists(err) {
			d.takeBack(made)
			return unreachable(doing, err)
		}
		again, err := d.again(ctx, run, secret)
		if err != nil || !again {
			return unreachable(doing, err)
		}
	}
}

// again looks at the Job that is there already: it tells of it again, or ends
// it for another to be started.
func (d *Driver) again(ctx context.Context, run platform.JobRun, secret *corev1.Secret) (startAnother bool, err error) {
	job, err := d.client.BatchV1().Jobs(d.options.Namespace).Get(ctx, jobName(run.Job, run.Step), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	ended, failed, _, _ := endOf(job)
	if job.DeletionTimestamp == nil && (!ended || failed) {
		d.tellAgain(stepOf(job))
		if err := d.giveNetwork(ctx, jobOwner(job), taskLabels(run.Workload.Ref(), run.Job, run.Step), run.Workload.Spec.Network); err != nil {
			return false, err
		}
		// It has a Secret of its own; this one goes with it.
		return false, d.giveSecret(ctx, secret, jobOwner(job))
	}
	return true, d.endJob(ctx, job.Name, stepOf(job))
}

// StopJob implements platform.Driver.
func (d *Driver) StopJob(ctx context.Context, job string, step platform.Step) error {
	ctx, done, err := d.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	return d.endJob(ctx, jobName(job, step), stepKey{job, step})
}

// How often StopJob looks for pods that are left.
const (
	lookSoonest = 50 * time.Millisecond
	lookLatest  = time.Second
)

// endJob deletes a Job, and returns when no pod of it is left.
func (d *Driver) endJob(ctx context.Context, name string, key stepKey) error {
	doing := fmt.Sprintf("stopping step %s of job %s", key.step, key.job)
	err := d.client.BatchV1().Jobs(d.options.Namespace).Delete(ctx, name, metav1.DeleteOptions{
		PropagationPolicy: new(metav1.DeletePropagationBackground),
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return unreachable(doing, err)
	}
	d.forget(name)
	d.mu.Lock()
	delete(d.taken, key)
	d.mu.Unlock()
	pods := d.client.CoreV1().Pods(d.options.Namespace)
	selector := fmt.Sprintf("%s,%s=%s,%s=%s", selectTasks, labelJob, key.job, labelStep, key.step)
	for wait := lookSoonest; ; wait = min(wait*2, lookLatest) {
		left, err := pods.List(ctx, metav1.ListOptions{LabelSelector: selector, Limit: 100})
		if err != nil {
			return unreachable(doing, err)
		}
		if len(left.Items) == 0 {
			return nil
		}
		for _, pod := range left.Items {
			if pod.DeletionTimestamp != nil && time.Since(pod.DeletionTimestamp.Time) > d.options.Lost {
				if err := d.giveUp(ctx, &pod); err != nil {
					return err
				}
			}
		}
		if !pause.For(ctx, wait) {
			return modelmanager.Errorf(modelmanager.CodeDeadlineExceeded, "%s: %d of its pods have not ended yet: %w", doing, len(left.Items), ctx.Err())
		}
	}
}

// overdue ends a Job whose tasks have run for longer than they may.
func (d *Driver) overdue(ctx context.Context, job *batchv1.Job) error {
	// The Job's own clock runs while its pods wait for a node, too, so it is only
	// set when the time is over.
	patch := fmt.Appendf(nil, `{"metadata":{"uid":%q},"spec":{"activeDeadlineSeconds":1}}`, job.UID)
	_, err := d.client.BatchV1().Jobs(job.Namespace).Patch(ctx, job.Name, "application/merge-patch+json", patch, metav1.PatchOptions{FieldManager: fieldManager})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return unreachable("ending the Job "+job.Name+", which took longer than it may", err)
}
