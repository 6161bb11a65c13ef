package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func pod(namespace, name, address, app string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: address},
	}
}

func app(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

func namespaceNamed(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/metadata.name": name}}}
}

func fixture() state {
	return state{
		namespaces: []*corev1.Namespace{namespaceNamed("models"), namespaceNamed("system")},
		pods: []*corev1.Pod{
			pod("models", "a", "10.0.0.1", "model"),
			pod("models", "b", "10.0.0.2", "other"),
			pod("system", "server", "10.0.0.9", "server"),
		},
	}
}

func TestRules(t *testing.T) {
	http := intstr.FromString("http")
	range9 := int32(9090)
	port9 := intstr.FromInt32(9000)
	cases := map[string]struct {
		spec            networkingv1.NetworkPolicySpec
		egress, ingress []string
		noEgress        bool
		noIngress       bool
	}{
		"deny everything": {
			spec: networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{"Ingress", "Egress"}},
		},
		"ingress is the default": {
			spec:     networkingv1.NetworkPolicySpec{},
			noEgress: true,
		},
		"another pod's policy": {
			spec:     networkingv1.NetworkPolicySpec{PodSelector: *app("other"), PolicyTypes: []networkingv1.PolicyType{"Ingress", "Egress"}},
			noEgress: true, noIngress: true,
		},
		"from another namespace to a named port": {
			spec: networkingv1.NetworkPolicySpec{
				PodSelector: *app("model"),
				Ingress: []networkingv1.NetworkPolicyIngressRule{{
					From: []networkingv1.NetworkPolicyPeer{{
						NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "system"}},
						PodSelector:       app("server"),
					}},
					Ports: []networkingv1.NetworkPolicyPort{{Port: &http}},
				}},
			},
			noEgress: true,
			ingress:  []string{"ip saddr { 10.0.0.9 } ip daddr 10.0.0.1 tcp dport 8080 "},
		},
		"to pods of the namespace, any port": {
			spec: networkingv1.NetworkPolicySpec{
				PolicyTypes: []networkingv1.PolicyType{"Egress"},
				Egress:      []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}}},
			},
			egress:    []string{"ip daddr { 10.0.0.1, 10.0.0.2 } "},
			noIngress: true,
		},
		"to addresses but some, and a range of ports": {
			spec: networkingv1.NetworkPolicySpec{
				PolicyTypes: []networkingv1.PolicyType{"Egress"},
				Egress: []networkingv1.NetworkPolicyEgressRule{{
					To: []networkingv1.NetworkPolicyPeer{
						{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0", Except: []string{"169.254.169.254/32"}}},
						{IPBlock: &networkingv1.IPBlock{CIDR: "::/0"}},
					},
					Ports: []networkingv1.NetworkPolicyPort{{Port: &port9, EndPort: &range9}},
				}},
			},
			egress:    []string{"ip daddr 0.0.0.0/0 ip daddr != { 169.254.169.254/32 } tcp dport 9000-9090 "},
			noIngress: true,
		},
		"nobody is selected": {
			spec: networkingv1.NetworkPolicySpec{
				Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: app("none")}}}},
			},
			noEgress: true,
		},
		"from everywhere": {
			spec:     networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{}}},
			noEgress: true,
			ingress:  []string{""},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := fixture()
			s.policies = []*networkingv1.NetworkPolicy{{ObjectMeta: metav1.ObjectMeta{Namespace: "models", Name: "p"}, Spec: c.spec}}
			egress, isolated := s.rules(s.pods[0], networkingv1.PolicyTypeEgress)
			if isolated == c.noEgress {
				t.Errorf("egress is isolated: %v", isolated)
			}
			if diff := cmp.Diff(c.egress, egress); diff != "" {
				t.Errorf("egress (-want +got):\n%s", diff)
			}
			ingress, isolated := s.rules(s.pods[0], networkingv1.PolicyTypeIngress)
			if isolated == c.noIngress {
				t.Errorf("ingress is isolated: %v", isolated)
			}
			if diff := cmp.Diff(c.ingress, ingress); diff != "" {
				t.Errorf("ingress (-want +got):\n%s", diff)
			}
			if _, err := exec.LookPath("nft"); err == nil {
				command := exec.Command("nft", "--check", "-f", "-")
				command.Stdin = strings.NewReader(render(s))
				if output, err := command.CombinedOutput(); err != nil && !strings.Contains(string(output), "not permitted") {
					t.Errorf("nft refuses it: %s\n%s", output, render(s))
				}
			}
		})
	}
}

// TestRenderIsStable: order doesn't matter, and a pod that has ended is none.
func TestRenderIsStable(t *testing.T) {
	s := fixture()
	s.policies = []*networkingv1.NetworkPolicy{{ObjectMeta: metav1.ObjectMeta{Namespace: "models", Name: "deny"}}}
	first := render(s)
	slices.Reverse(s.pods)
	ended := pod("models", "ended", "10.0.0.3", "model")
	ended.Status.Phase = corev1.PodSucceeded
	s.pods = append(s.pods, ended)
	if diff := cmp.Diff(first, render(s)); diff != "" {
		t.Errorf("(-first +second):\n%s", diff)
	}
	if !strings.Contains(first, "10.0.0.1 : goto ingress-10-0-0-1") || strings.Contains(first, "10.0.0.9 : goto") {
		t.Errorf("the wrong pods are isolated:\n%s", first)
	}
}
