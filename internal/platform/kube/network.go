package kube

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	networkingapply "k8s.io/client-go/applyconfigurations/networking/v1"

	"modelmanager.dev/internal/pause"
)

// A NetworkPolicy names addresses, a spec mostly hosts. The driver looks them
// up, and again from time to time: an address is let through for as long as it
// was among a host's within addressKept, since pods may have been told another
// one than the server was.
const (
	lookUpEvery  = time.Minute
	lookUpWithin = 5 * time.Second
	addressKept  = time.Hour
)

// neverReached are addresses that give away who a node is, by whatever name:
// link-local ones, among them the metadata of most clouds, and the others'.
var neverReached = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("fd00:ec2::254/128"), netip.MustParsePrefix("100.100.100.200/32"), netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("::/128"),
}

func reachable(address netip.Addr) bool {
	return !address.IsMulticast() && !slices.ContainsFunc(neverReached, func(never netip.Prefix) bool { return never.Contains(address) })
}

// network is what the pods of a Deployment or Job may connect to.
type network struct {
	owner   metav1.OwnerReference
	labels  map[string]string // of the pods
	targets []target
	seen    map[target]map[netip.Addr]time.Time

	mu      sync.Mutex // held while they are looked up and written
	applied string     // the policy's rules, as text
}

// target is a place of spec.Network.
type target struct {
	host string
	port int32
}

func targets(addresses []string) []target {
	var list []target
	for _, address := range addresses {
		host, port, err := net.SplitHostPort(address)
		n, portErr := strconv.ParseUint(port, 10, 16)
		if err == nil && portErr == nil {
			list = append(list, target{host, int32(n)})
		}
	}
	return list
}

// lookUp takes in the addresses that targets have now.
func (n *network) lookUp(ctx context.Context, now time.Time, resolve func(context.Context, string) ([]netip.Addr, error)) error {
	ctx, cancel := context.WithTimeout(ctx, lookUpWithin)
	defer cancel()
	var failed error
	for _, t := range n.targets {
		found, err := resolve(ctx, t.host)
		if err != nil {
			failed = fmt.Errorf("looking up %s: %w", t.host, err)
		}
		if n.seen[t] == nil {
			n.seen[t] = map[netip.Addr]time.Time{}
		}
		for _, address := range found {
			if address = address.Unmap().WithZone(""); reachable(address) {
				n.seen[t][address] = now
			}
		}
		maps.DeleteFunc(n.seen[t], func(_ netip.Addr, last time.Time) bool { return now.Sub(last) > addressKept })
	}
	return failed
}

// policy lets pods connect to what was found, and ask the cluster's DNS for it.
func (n *network) policy(namespace string) *networkingv1.NetworkPolicy {
	port := func(number int32, protocol corev1.Protocol) networkingv1.NetworkPolicyPort {
		return networkingv1.NetworkPolicyPort{Port: new(intstr.FromInt32(number)), Protocol: new(protocol)}
	}
	rules := []networkingv1.NetworkPolicyEgressRule{{
		To: []networkingv1.NetworkPolicyPeer{{
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: "kube-system"}},
			PodSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{"k8s-app": "kube-dns"}},
		}},
		Ports: []networkingv1.NetworkPolicyPort{port(53, corev1.ProtocolUDP), port(53, corev1.ProtocolTCP)},
	}}
	for _, t := range n.targets {
		rule := networkingv1.NetworkPolicyEgressRule{Ports: []networkingv1.NetworkPolicyPort{port(t.port, corev1.ProtocolTCP)}}
		for _, address := range slices.SortedFunc(maps.Keys(n.seen[t]), netip.Addr.Compare) {
			rule.To = append(rule.To, networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: netip.PrefixFrom(address, address.BitLen()).String()}})
		}
		if len(rule.To) > 0 { // a rule without places would let all of them through
			rules = append(rules, rule)
		}
	}
	return &networkingv1.NetworkPolicy{
		TypeMeta: metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: n.owner.Name, Labels: n.labels, OwnerReferences: []metav1.OwnerReference{n.owner},
		},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: n.labels},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
			Egress:      rules,
		},
	}
}

// giveNetwork lets the pods of a Deployment or Job connect to what their spec
// names. The policy goes with its owner.
func (d *Driver) giveNetwork(ctx context.Context, owner metav1.OwnerReference, labels map[string]string, addresses []string) error {
	if len(addresses) == 0 {
		return nil
	}
	d.mu.Lock()
	known := d.networks[owner.Name]
	d.mu.Unlock()
	if known != nil && known.owner.UID == owner.UID {
		return nil
	}
	n := &network{owner: owner, labels: labels, targets: targets(addresses), seen: map[target]map[netip.Addr]time.Time{}}
	if err := d.renew(ctx, n); err != nil {
		return err
	}
	d.mu.Lock()
	d.networks[owner.Name] = n
	d.mu.Unlock()
	return nil
}

// renew looks up what pods may connect to, and writes the policy if that has
// changed.
func (d *Driver) renew(ctx context.Context, n *network) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.lookUp(ctx, time.Now(), d.options.Resolve); err != nil && ctx.Err() == nil {
		d.options.Logger.Warn("a place that a model may connect to has no known address", "of", n.owner.Name, "error", err)
	}
	policy := n.policy(d.options.Namespace)
	text := fmt.Sprint(policy.Spec.Egress)
	if text == n.applied {
		return nil
	}
	var configuration networkingapply.NetworkPolicyApplyConfiguration
	if err := convert(policy, &configuration); err != nil {
		return err
	}
	if _, err := d.client.NetworkingV1().NetworkPolicies(d.options.Namespace).Apply(ctx, &configuration, applied); err != nil {
		return err
	}
	n.applied = text
	return nil
}

// keepNetworks looks hosts up again, until ctx ends. A policy that is written
// after its owner has gone goes with it all the same.
func (d *Driver) keepNetworks(ctx context.Context) {
	for pause.For(ctx, lookUpEvery) {
		d.mu.Lock()
		all := maps.Clone(d.networks)
		d.mu.Unlock()
		for name, n := range all {
			if err := d.renew(ctx, n); err != nil && ctx.Err() == nil {
				d.options.Logger.Warn("what a model may connect to can't be written", "of", name, "error", err)
			}
		}
	}
}
