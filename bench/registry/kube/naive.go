package main

import (
	"context"
	"encoding/json"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"time"
)

// The naive form: one object a model, with the live version's spec as a tree.

var naiveResource = schema.GroupVersionResource{Group: "bench.modelmanager.dev", Version: "v1", Resource: "fullmodels"}

const naiveCRD = `{
	"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "fullmodels.bench.modelmanager.dev"},
	"spec": {"group": "bench.modelmanager.dev", "scope": "Namespaced",
		"names": {"plural": "fullmodels", "singular": "fullmodel", "kind": "FullModel", "listKind": "FullModelList"},
		"versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
			"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
			"status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]}}`

func installNaive(ctx context.Context, config *rest.Config) error {
	client, err := naiveClient(config)
	if err != nil {
		return err
	}
	crd := &unstructured.Unstructured{}
	if err := json.Unmarshal([]byte(naiveCRD), &crd.Object); err != nil {
		return err
	}
	definitions := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	if _, err := client.Resource(definitions).Create(ctx, crd, metav1.CreateOptions{}); err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		_, err := client.Resource(naiveResource).Namespace("default").List(ctx, metav1.ListOptions{Limit: 1})
		return err == nil, nil
	})
}

func naiveClient(config *rest.Config) (dynamic.Interface, error) { return dynamic.NewForConfig(config) }

func createNaive(ctx context.Context, client dynamic.Interface, i, versions int) error {
	s := specOf(i)
	canonical, err := s.Canonical()
	if err != nil {
		return err
	}
	record, err := json.Marshal(recordOf(s, versions))
	if err != nil {
		return err
	}
	var tree, status map[string]any
	if err := errors.Join(json.Unmarshal([]byte(canonical), &tree), json.Unmarshal(record, &status)); err != nil {
		return err
	}
	_, err = client.Resource(naiveResource).Namespace(naive).Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "bench.modelmanager.dev/v1", "kind": "FullModel", "metadata": map[string]any{
			"name": s.Name, "labels": map[string]any{"app.kubernetes.io/managed-by": "model-manager", "team": s.Labels["team"]}},
		"spec": tree, "status": status,
	}}, metav1.CreateOptions{})
	return err
}

// followNaive starts an informer, and returns when it holds everything.
func followNaive(ctx context.Context, config *rest.Config) (keep any, err error) {
	client, err := naiveClient(config)
	if err != nil {
		return nil, err
	}
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, naive, nil)
	informer := factory.ForResource(naiveResource).Informer()
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return nil, errors.New("the informer never had everything")
	}
	return informer, nil
}

// listNaive lists everything once, as a program without a cache does.
func listNaive(ctx context.Context, config *rest.Config) (int, error) {
	client, err := naiveClient(config)
	if err != nil {
		return 0, err
	}
	listed, next := 0, ""
	for {
		page, err := client.Resource(naiveResource).Namespace(naive).List(ctx, metav1.ListOptions{Limit: 500, Continue: next})
		if err != nil {
			return 0, err
		}
		listed += len(page.Items)
		if next = page.GetContinue(); next == "" {
			return listed, nil
		}
	}
}
