// Package kube finds the other servers as pods of the same labels.
package kube

import (
	"context"
	"fmt"
	"net"
	"strconv"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"modelmanager.dev"
	"modelmanager.dev/internal/peers"
)

// Options are all that Servers are told.
type Options struct {
	Namespace string // the servers' own
	Selector  string // of their labels: app.kubernetes.io/name=model-manager
	Self      string // this pod's name
	Port      int    // of the internal listener, the same in every pod
}

// Servers are the pods of the other servers. It is a peers.Finder.
type Servers struct {
	options Options
	pods    cache.SharedIndexInformer
}

// New makes Servers; Run makes it follow them. The server's account needs to
// list and watch pods in its namespace.
func New(config *rest.Config, options Options) (*Servers, error) {
	selector, err := labels.Parse(options.Selector)
	if err != nil || selector.Empty() {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "finding the other servers: %q is no selector of pods (%v)", options.Selector, err)
	}
	if options.Namespace == "" || options.Self == "" || options.Port <= 0 {
		return nil, modelmanager.Errorf(modelmanager.CodeInternal, "finding the other servers: the namespace, this pod's name and the internal port are needed, and are %+v", options)
	}
	connection, err := client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for pods: %w", err)
	}
	pods := connection.Pods(options.Namespace)
	s := &Servers{options: options}
	s.pods = cache.NewSharedIndexInformer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o meta.ListOptions) (runtime.Object, error) {
			o.LabelSelector = options.Selector
			return pods.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o meta.ListOptions) (watch.Interface, error) {
			o.LabelSelector = options.Selector
			return pods.Watch(ctx, o)
		},
	}, &core.Pod{}, 0, cache.Indexers{})
	if err := s.pods.SetTransform(essence); err != nil {
		return nil, err
	}
	return s, nil
}

// essence keeps what is asked of a pod.
func essence(object any) (any, error) {
	pod, ok := object.(*core.Pod)
	if !ok {
		return object, nil
	}
	kept := &core.Pod{ObjectMeta: meta.ObjectMeta{
		Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID, ResourceVersion: pod.ResourceVersion, DeletionTimestamp: pod.DeletionTimestamp,
	}}
	kept.Status.Phase, kept.Status.PodIP = pod.Status.Phase, pod.Status.PodIP
	for _, condition := range pod.Status.Conditions {
		if condition.Type == core.PodReady {
			kept.Status.Conditions = append(kept.Status.Conditions, core.PodCondition{Type: core.PodReady, Status: condition.Status})
		}
	}
	return kept, nil
}

// Run follows the pods until ctx ends.
func (s *Servers) Run(ctx context.Context) error {
	s.pods.RunWithContext(ctx)
	return nil
}

// Peers implements peers.Finder. While the API server is away, the servers are
// those that there were.
func (s *Servers) Peers(context.Context) ([]peers.Peer, error) {
	if !s.pods.HasSynced() {
		return nil, modelmanager.Errorf(modelmanager.CodeUnavailable, "finding the other servers: their pods aren't known yet")
	}
	var found []peers.Peer
	for _, object := range s.pods.GetStore().List() {
		pod := object.(*core.Pod)
		ended := pod.Status.Phase == core.PodSucceeded || pod.Status.Phase == core.PodFailed
		if pod.Name == s.options.Self || pod.Status.PodIP == "" || ended {
			continue
		}
		found = append(found, peers.Peer{
			URL:    "http://" + net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(s.options.Port)),
			Fading: pod.DeletionTimestamp != nil || !ready(pod),
		})
	}
	return found, nil
}

func ready(pod *core.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == core.PodReady {
			return condition.Status == core.ConditionTrue
		}
	}
	return false
}
