package cluster_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev/test/cluster"
)

// TestNetworkPolicy: the cluster enforces what policies say; without that, no
// test of what a model's pod can reach would mean anything.
func TestNetworkPolicy(t *testing.T) {
	c := cluster.Connect(t)
	namespace := c.Namespace(t)
	image := pushProbe(t, c)
	for _, name := range []string{"server", "caller", "stranger"} {
		template := probePod(c, image)
		_, err := c.Client.CoreV1().Pods(namespace).Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
			Spec:       template.Spec,
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	var server string
	cluster.Eventually(t, time.Minute, "the pods answer", func(ctx context.Context) (bool, string, error) {
		for _, name := range []string{"server", "caller", "stranger"} {
			if _, err := fetch(ctx, c, namespace, name, "http://127.0.0.1:8080/"); err != nil {
				return false, "", err
			}
		}
		pod, err := c.Client.CoreV1().Pods(namespace).Get(ctx, "server", metav1.GetOptions{})
		if err != nil {
			return false, "", err
		}
		server = "http://" + pod.Status.PodIP + ":8080/"
		return pod.Status.PodIP != "", "no address", nil
	})
	expect := func(pod, url string, reached bool) {
		t.Helper()
		cluster.Eventually(t, 30*time.Second, "the policies take effect", func(ctx context.Context) (bool, string, error) {
			answer, err := fetch(ctx, c, namespace, pod, url)
			return (answer == "reached") == reached, pod + " to " + url + ": " + answer, err
		})
	}
	expect("caller", server, true)
	expect("stranger", server, true)
	expect("stranger", c.Config.Host, true)

	// The server takes nobody but the caller; the stranger may go nowhere.
	apply := func(name string, spec networkingv1.NetworkPolicySpec) {
		t.Helper()
		policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
		if _, err := c.Client.NetworkingV1().NetworkPolicies(namespace).Create(t.Context(), policy, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	apply("server", networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "server"}},
		Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{
			PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "caller"}},
		}}}},
	})
	expect("stranger", server, false)
	expect("caller", server, true)
	apply("stranger", networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "stranger"}},
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
	})
	expect("stranger", c.Config.Host, false)
	expect("caller", c.Config.Host, true)

	// A pod can't be quicker than the policies that apply to it.
	for i := range 3 {
		template := probePod(c, image, "fetch", c.Config.Host)
		template.Spec.RestartPolicy = corev1.RestartPolicyNever
		name := fmt.Sprintf("quick-%d", i)
		_, err := c.Client.CoreV1().Pods(namespace).Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "stranger"}},
			Spec:       template.Spec,
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var said string
		cluster.Eventually(t, time.Minute, "the quick pod has ended", func(ctx context.Context) (bool, string, error) {
			text, err := c.Client.CoreV1().Pods(namespace).GetLogs(name, &corev1.PodLogOptions{}).DoRaw(ctx)
			said = string(text)
			return said != "", "it has said nothing", err
		})
		if strings.Contains(said, "reached") {
			t.Errorf("%s reached what it may not", name)
		}
	}
}

// fetch asks a probe to fetch a URL, by way of the API server.
func fetch(ctx context.Context, c *cluster.Cluster, namespace, pod, url string) (string, error) {
	answer, err := c.Client.CoreV1().Pods(namespace).ProxyGet("http", pod, "8080", "/fetch", map[string]string{"url": url}).DoRaw(ctx)
	return string(answer), err
}
