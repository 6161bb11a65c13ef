package kube_test

import (
	"bytes"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"modelmanager.dev"
	"modelmanager.dev/internal/kube"
	"modelmanager.dev/internal/kubetest"
)

func TestKeyIsMadeOnce(t *testing.T) {
	config := kubetest.Config(t)
	namespace := kubetest.Namespace(t, config)
	keys := make([][]byte, 8) // servers that start together
	var group sync.WaitGroup
	for i := range keys {
		group.Go(func() {
			var err error
			if keys[i], err = kube.Key(t.Context(), config, namespace, "key"); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, key := range keys {
		if len(key) < 32 || !bytes.Equal(key, keys[0]) {
			t.Fatalf("servers that start together have the keys %x", keys)
		}
	}
}

func TestKeyThatIsNone(t *testing.T) {
	config := kubetest.Config(t)
	namespace := kubetest.Namespace(t, config)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "key"}, Data: map[string][]byte{"key": []byte("short")},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kube.Key(t.Context(), config, namespace, "key"); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
		t.Fatalf("a key of five bytes: %v", err)
	}
}
