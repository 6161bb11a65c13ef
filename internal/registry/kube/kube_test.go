package kube_test

import (
	"context"
	"testing"
	"time"

	"modelmanager.dev/internal/kubetest"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/registry/kube"
	"modelmanager.dev/internal/registry/registrytest"
)

// install makes the cluster serve the two kinds, and returns a namespace.
func install(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := kube.InstallCRDs(ctx, kubetest.Config(t)); err != nil {
		t.Fatal(err)
	}
	return kubetest.Namespace(t, kubetest.Config(t))
}

func open(t *testing.T, namespace string) *kube.Store {
	t.Helper()
	store, err := kube.Open(kubetest.Config(t), kube.Options{Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func TestStore(t *testing.T) {
	install(t)
	registrytest.Run(t, registrytest.Driver{
		New: func(t *testing.T) registrytest.Open {
			namespace := kubetest.Namespace(t, kubetest.Config(t))
			return func(t *testing.T) registry.Store { return open(t, namespace) }
		},
		Shared: true,
	})
}
