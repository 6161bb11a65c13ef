// Package cluster is what tests need of a Kubernetes cluster on which pods
// really run: a connection, a namespace, images. `make cluster` makes one on
// this machine; with KUBECONFIG and MM_TEST_REGISTRY the tests run on another.
// README.md beside this file has the rest.
//
// The package's own tests prove the cluster; the product's tests on it stand
// beside them.
package cluster
