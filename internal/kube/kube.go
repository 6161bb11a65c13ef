// Package kube reaches a cluster, for the drivers that work on one.
package kube

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"modelmanager.dev"
)

// answerWithin bounds every request to a cluster that Connect finds. Those who
// have less time set a bound of their own.
const answerWithin = 15 * time.Second

// Connect finds the cluster: that of a kubeconfig file, if one is named here or
// by the environment as kubectl's are, or else the one that this program runs in.
func Connect(kubeconfig, userAgent string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest,
			"finding the cluster: %w; run in a pod with a service account, or name a file with --kubeconfig", err)
	}
	config.UserAgent = userAgent
	Bound(config, answerWithin)
	return config, nil
}

const (
	keyEntry = "key" // of the Secret
	keySize  = 32    // bytes
)

// Key reads the secret from which every token of a server derives from a
// Secret. The first server of all makes it.
func Key(ctx context.Context, cluster *rest.Config, namespace, name string) ([]byte, error) {
	client, err := kubernetes.NewForConfig(cluster)
	if err != nil {
		return nil, fmt.Errorf("making a client of the cluster: %w", err)
	}
	secrets := client.CoreV1().Secrets(namespace)
	found, err := secrets.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		key := make([]byte, keySize)
		if _, err := rand.Read(key); err != nil {
			return nil, err
		}
		immutable := true
		found, err = secrets.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app.kubernetes.io/managed-by": "model-manager"}},
			Immutable:  &immutable,
			Data:       map[string][]byte{keyEntry: key},
		}, metav1.CreateOptions{FieldManager: "model-manager"})
		if apierrors.IsAlreadyExists(err) { // another replica was faster
			found, err = secrets.Get(ctx, name, metav1.GetOptions{})
		}
	}
	if err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeUnavailable,
			"reading the server's key from the Secret %s/%s: %w", namespace, name, err)
	}
	if key := found.Data[keyEntry]; len(key) >= keySize {
		return key, nil
	}
	return nil, modelmanager.Errorf(modelmanager.CodeBadRequest,
		"the Secret %s/%s has no entry %q of at least %d bytes; restore it, or delete it and a new one is made", namespace, name, keyEntry, keySize)
}
