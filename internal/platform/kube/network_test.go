package kube

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestWhatAModelMayConnectTo: the addresses of what its spec names, for an hour
// after they were last seen, and never the metadata of a cloud.
func TestWhatAModelMayConnectTo(t *testing.T) {
	names := map[string][]string{
		"features.example.org": {"192.0.2.7", "::ffff:192.0.2.8"},
		"metadata.example.org": {"169.254.169.254", "fe80::1", "fd00:ec2::254", "127.0.0.1", "224.0.0.1"},
		"2001:db8::1":          {"2001:db8::1"},
	}
	resolve := func(_ context.Context, host string) ([]netip.Addr, error) {
		var list []netip.Addr
		for _, text := range names[host] {
			list = append(list, netip.MustParseAddr(text))
		}
		if list == nil {
			return nil, errors.New("no such host")
		}
		return list, nil
	}
	n := &network{
		owner: metav1.OwnerReference{Name: "churn-7", Kind: "Deployment", UID: "uid"}, labels: map[string]string{"a": "b"},
		targets: targets([]string{"features.example.org:443", "metadata.example.org:80", "[2001:db8::1]:5432", "gone.example.org:1"}),
		seen:    map[target]map[netip.Addr]time.Time{},
	}
	now := time.Now()
	at := func(later time.Duration, fails bool, want ...string) {
		t.Helper()
		if err := n.lookUp(t.Context(), now.Add(later), resolve); (err != nil) != fails {
			t.Errorf("looking up: %v", err)
		}
		policy := n.policy("models")
		if got := opened(t, policy); !slices.Equal(got, want) {
			t.Errorf("after %v it lets through %v, want %v", later, got, want)
		}
	}
	at(0, true, "192.0.2.7/32:443", "192.0.2.8/32:443", "2001:db8::1/128:5432")
	names["features.example.org"], names["gone.example.org"] = []string{"192.0.2.9"}, []string{"192.0.2.1"}
	at(time.Minute, false, "192.0.2.7/32:443", "192.0.2.8/32:443", "192.0.2.9/32:443", "2001:db8::1/128:5432", "192.0.2.1/32:1")
	delete(names, "gone.example.org")
	at(61*time.Minute, true, "192.0.2.9/32:443", "2001:db8::1/128:5432", "192.0.2.1/32:1")
}

// opened lists what a policy lets through beside the cluster's DNS.
func opened(t *testing.T, policy *networkingv1.NetworkPolicy) []string {
	t.Helper()
	var list []string
	for i, rule := range policy.Spec.Egress {
		if len(rule.To) == 0 || len(rule.Ports) == 0 {
			t.Errorf("rule %d lets everything through: %v", i, rule)
		}
		for _, to := range rule.To {
			if to.IPBlock != nil {
				list = append(list, to.IPBlock.CIDR+":"+rule.Ports[0].Port.String())
			} else if to.PodSelector == nil || to.PodSelector.MatchLabels["k8s-app"] != "kube-dns" {
				t.Errorf("rule %d lets through %v", i, to)
			}
		}
	}
	return list
}
