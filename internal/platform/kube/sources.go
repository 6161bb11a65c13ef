package kube

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
)

func (d *Driver) pods(selector string) source[*corev1.Pod] {
	client := d.client.CoreV1().Pods(d.options.Namespace)
	return source[*corev1.Pod]{
		name: "pods", selector: selector, watch: client.Watch,
		list: func(ctx context.Context, options metav1.ListOptions) ([]*corev1.Pod, metav1.ListMeta, error) {
			list, err := client.List(ctx, options)
			if err != nil {
				return nil, metav1.ListMeta{}, err
			}
			return pointers(list.Items), list.ListMeta, nil
		},
	}
}

func (d *Driver) deployments() source[*appsv1.Deployment] {
	client := d.client.AppsV1().Deployments(d.options.Namespace)
	return source[*appsv1.Deployment]{
		name: "Deployments", selector: selectReplicas, watch: client.Watch,
		list: func(ctx context.Context, options metav1.ListOptions) ([]*appsv1.Deployment, metav1.ListMeta, error) {
			list, err := client.List(ctx, options)
			if err != nil {
				return nil, metav1.ListMeta{}, err
			}
			return pointers(list.Items), list.ListMeta, nil
		},
	}
}

func (d *Driver) jobs() source[*batchv1.Job] {
	client := d.client.BatchV1().Jobs(d.options.Namespace)
	return source[*batchv1.Job]{
		name: "Jobs", selector: selectTasks, watch: client.Watch,
		list: func(ctx context.Context, options metav1.ListOptions) ([]*batchv1.Job, metav1.ListMeta, error) {
			list, err := client.List(ctx, options)
			if err != nil {
				return nil, metav1.ListMeta{}, err
			}
			return pointers(list.Items), list.ListMeta, nil
		},
	}
}

func pointers[T any](list []T) []*T {
	all := make([]*T, len(list))
	for i := range list {
		all[i] = &list[i]
	}
	return all
}

// eventsKept bounds how many events of one object are looked at.
const eventsKept = 100

// eventsOf returns what the cluster has noted of an object.
func (d *Driver) eventsOf(ctx context.Context, uid types.UID) ([]corev1.Event, error) {
	list, err := d.client.CoreV1().Events(d.options.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("involvedObject.uid", string(uid)).String(), Limit: eventsKept,
	})
	if err != nil {
		return nil, unreachable("listing events", err)
	}
	return list.Items, nil
}
