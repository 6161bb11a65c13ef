package kube

import (
	"context"
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// A pod that is told to end stays until its node says that it has. A node that
// is lost never does, and a Job replaces a pod only once it has ended: one with
// a failure policy can't be told otherwise. So the driver says it for the node,
// as the cluster itself does for nodes that are deleted. Should the pod go on
// where nobody sees it, then two attempts at a task run at once, of which only
// one can commit (see package batch).

const (
	// goneNode is how long a pod stays bound to a node that doesn't answer,
	// beyond the time that the cluster takes to find that out. The cluster's own
	// default is five minutes.
	goneNode = 30
	// reasonLost is that of a pod whose node is lost.
	reasonLost = "NodeLost"
	// lostAgain is how often giving a pod up is tried.
	lostAgain = 5 * time.Second
)

// tolerations are those of every pod: the operator's, and for how long it waits
// for a node that doesn't answer, unless the operator says so.
func (o *Options) tolerations() []corev1.Toleration {
	list := append([]corev1.Toleration(nil), o.Tolerations...)
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		taint := corev1.Taint{Key: key, Effect: corev1.TaintEffectNoExecute}
		said := false
		for _, t := range o.Tolerations {
			said = said || (t.Key == taint.Key || t.Key == "") && (t.Effect == taint.Effect || t.Effect == "") && t.Operator != corev1.TolerationOpEqual
		}
		if !said {
			list = append(list, corev1.Toleration{
				Key: key, Operator: corev1.TolerationOpExists, Effect: taint.Effect, TolerationSeconds: new(int64(goneNode)),
			})
		}
	}
	return list
}

// leaves sets a pod that was told to end a time by which it must have.
func (s *watchedStep) leaves(pod *corev1.Pod) {
	timer := s.leaving[pod.UID]
	switch {
	case pod.DeletionTimestamp == nil || ended(pod):
		s.left(pod.UID)
	case timer == nil:
		// The timestamp is when its grace ends.
		after := time.Until(pod.DeletionTimestamp.Add(s.watch.driver.options.Lost))
		s.leaving[pod.UID] = time.AfterFunc(max(after, 0), func() { s.watch.lost(s, pod) })
	}
}

func (s *watchedStep) left(uid types.UID) {
	if timer := s.leaving[uid]; timer != nil {
		timer.Stop()
		delete(s.leaving, uid)
	}
}

// lost gives up a pod that has not ended in time. Every server that watches may
// do so.
func (w *taskWatch) lost(s *watchedStep, pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	timer := s.leaving[pod.UID]
	if w.closed || timer == nil {
		return
	}
	timer.Reset(lostAgain)
	w.wait.Go(func() {
		err := w.driver.giveUp(w.ctx, pod)
		if w.ctx.Err() != nil {
			return
		}
		if err != nil {
			w.driver.options.Logger.Error("a task on a lost node can't be given up", "pod", pod.Name, "node", pod.Spec.NodeName, "error", err)
			return
		}
		w.driver.options.Logger.Warn("a task was given up, as its node is lost; it runs again on another", "pod", pod.Name, "node", pod.Spec.NodeName)
	})
}

// giveUp says that a pod has ended whose node can't, and removes it. It counts
// as taken away by its node, so that its Job doesn't count it as an attempt.
func (d *Driver) giveUp(ctx context.Context, pod *corev1.Pod) error {
	now := metav1.Now()
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status": map[string]any{
			"phase": corev1.PodFailed, "reason": reasonLost, "message": "its node " + pod.Spec.NodeName + " is lost",
			"conditions": []map[string]any{{
				"type": corev1.DisruptionTarget, "status": corev1.ConditionTrue, "reason": reasonLost,
				"message": "its node " + pod.Spec.NodeName + " doesn't answer", "lastTransitionTime": now,
			}},
		},
	})
	if err != nil {
		return err
	}
	pods := d.client.CoreV1().Pods(pod.Namespace)
	_, err = pods.Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager}, "status")
	if err == nil {
		err = pods.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0)), Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
	}
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // it has gone
	}
	return unreachable("giving up pod "+pod.Name+" of a lost node", err)
}
