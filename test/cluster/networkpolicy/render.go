package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// state is what the rules follow from.
type state struct {
	pods       []*corev1.Pod
	namespaces []*corev1.Namespace
	policies   []*networkingv1.NetworkPolicy
}

// render returns the whole table. The same state, in any order, gives the same
// text. A pod that no policy selects has no rules; one that a policy selects
// has a chain for each direction, which accepts what some policy allows, and
// drops the rest.
func render(s state) string {
	s.pods = slices.DeleteFunc(slices.Clone(s.pods), func(pod *corev1.Pod) bool { return !addressed(pod) })
	slices.SortFunc(s.pods, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Status.PodIP, b.Status.PodIP), cmp.Compare(a.UID, b.UID))
	})
	s.pods = slices.CompactFunc(s.pods, func(a, b *corev1.Pod) bool { return a.Status.PodIP == b.Status.PodIP })
	slices.SortFunc(s.policies, func(a, b *networkingv1.NetworkPolicy) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})

	var chains, egress, ingress strings.Builder
	for _, pod := range s.pods {
		for _, d := range []struct {
			direction networkingv1.PolicyType
			entries   *strings.Builder
		}{{networkingv1.PolicyTypeEgress, &egress}, {networkingv1.PolicyTypeIngress, &ingress}} {
			rules, isolated := s.rules(pod, d.direction)
			if !isolated {
				continue
			}
			name := strings.ToLower(string(d.direction)) + "-" + strings.ReplaceAll(pod.Status.PodIP, ".", "-")
			fmt.Fprintf(&chains, "  chain %s { # %s/%s\n", name, pod.Namespace, pod.Name)
			for _, rule := range rules {
				fmt.Fprintf(&chains, "    %saccept\n", rule)
			}
			chains.WriteString("    drop\n  }\n")
			fmt.Fprintf(d.entries, "      %s : goto %s,\n", pod.Status.PodIP, name)
		}
	}
	return fmt.Sprintf(table, chains.String(),
		dispatch("saddr", egress.String()), dispatch("saddr", egress.String()), dispatch("daddr", ingress.String()))
}

// table is replaced as a whole. Egress and ingress are chains of their own, as
// a connection needs the consent of both. Answers pass.
const table = `table inet mm-test-policies
delete table inet mm-test-policies
table inet mm-test-policies {
%s  chain to-node {
    type filter hook input priority filter; policy accept;
    ct state established,related accept
%s  }
  chain from-pod {
    type filter hook forward priority filter; policy accept;
    ct state established,related accept
%s  }
  chain to-pod {
    type filter hook forward priority filter + 1; policy accept;
    ct state established,related accept
%s  }
}
`

// dispatch sends a pod's packets to its chain.
func dispatch(field, entries string) string {
	if entries == "" {
		return ""
	}
	return "    ip " + field + " vmap {\n" + entries + "    }\n"
}

// rules returns what is allowed to or from a pod, as matches of nftables, and
// whether any policy of that direction selects the pod.
func (s state) rules(pod *corev1.Pod, direction networkingv1.PolicyType) (matches []string, isolated bool) {
	for _, policy := range s.policies {
		if policy.Namespace != pod.Namespace || !slices.Contains(directions(policy), direction) || !selects(&policy.Spec.PodSelector, pod.Labels) {
			continue
		}
		isolated = true
		if direction == networkingv1.PolicyTypeEgress {
			for _, rule := range policy.Spec.Egress {
				for _, peer := range s.peers(policy.Namespace, rule.To, "daddr") {
					matches = append(matches, allow(peer, rule.Ports, peer.pods)...)
				}
			}
			continue
		}
		for _, rule := range policy.Spec.Ingress {
			for _, peer := range s.peers(policy.Namespace, rule.From, "saddr") {
				matches = append(matches, allow(peer, rule.Ports, []*corev1.Pod{pod})...)
			}
		}
	}
	return matches, isolated
}

// peer is one kind of other side: the match that recognises it, and its pods
// if it is pods.
type peer struct {
	match string
	pods  []*corev1.Pod
}

// peers returns the other sides that a rule names: all of the world, if it
// names none.
func (s state) peers(namespace string, named []networkingv1.NetworkPolicyPeer, field string) []peer {
	if len(named) == 0 {
		return []peer{{pods: s.pods}}
	}
	var peers []peer
	for _, p := range named {
		if p.IPBlock != nil {
			if match, ok := blockMatch(p.IPBlock, field); ok {
				peers = append(peers, peer{match: match})
			}
			continue
		}
		pods := slices.DeleteFunc(slices.Clone(s.pods), func(pod *corev1.Pod) bool {
			if p.NamespaceSelector == nil && pod.Namespace != namespace {
				return true
			}
			if p.NamespaceSelector != nil && !selects(p.NamespaceSelector, s.namespaceLabels(pod.Namespace)) {
				return true
			}
			return p.PodSelector != nil && !selects(p.PodSelector, pod.Labels)
		})
		if len(pods) > 0 { // an empty set is no set, to nftables
			peers = append(peers, peer{match: "ip " + field + " { " + addresses(pods) + " } ", pods: pods})
		}
	}
	return peers
}

// blockMatch recognises a block of addresses. There are none of IPv6 here.
func blockMatch(block *networkingv1.IPBlock, field string) (string, bool) {
	if strings.Contains(block.CIDR, ":") {
		return "", false
	}
	match := "ip " + field + " " + block.CIDR + " "
	if len(block.Except) > 0 {
		match += "ip " + field + " != { " + strings.Join(block.Except, ", ") + " } "
	}
	return match, true
}

// allow returns one match for each port, or one for all of them. The pods on
// the receiving side say what a port's name means.
func allow(from peer, ports []networkingv1.NetworkPolicyPort, receiving []*corev1.Pod) []string {
	if len(ports) == 0 {
		return []string{from.match}
	}
	var matches []string
	for _, port := range ports {
		protocol := corev1.ProtocolTCP
		if port.Protocol != nil {
			protocol = *port.Protocol
		}
		field := strings.ToLower(string(protocol))
		switch {
		case port.Port == nil:
			matches = append(matches, from.match+"meta l4proto "+field+" ")
		case port.Port.Type == intstr.Int && port.EndPort != nil:
			matches = append(matches, fmt.Sprintf("%s%s dport %d-%d ", from.match, field, port.Port.IntVal, *port.EndPort))
		case port.Port.Type == intstr.Int:
			matches = append(matches, fmt.Sprintf("%s%s dport %d ", from.match, field, port.Port.IntVal))
		default:
			for _, pod := range receiving {
				if number, ok := namedPort(pod, port.Port.StrVal, protocol); ok {
					matches = append(matches, from.match+"ip daddr "+pod.Status.PodIP+" "+field+" dport "+strconv.Itoa(int(number))+" ")
				}
			}
		}
	}
	return matches
}

func namedPort(pod *corev1.Pod, name string, protocol corev1.Protocol) (int32, bool) {
	for _, container := range pod.Spec.Containers {
		for _, port := range container.Ports {
			if port.Name == name && (port.Protocol == protocol || port.Protocol == "" && protocol == corev1.ProtocolTCP) {
				return port.ContainerPort, true
			}
		}
	}
	return 0, false
}

// directions returns what a policy is about; the API server fills this in, but
// for objects older than the field.
func directions(policy *networkingv1.NetworkPolicy) []networkingv1.PolicyType {
	if len(policy.Spec.PolicyTypes) > 0 {
		return policy.Spec.PolicyTypes
	}
	if len(policy.Spec.Egress) > 0 {
		return []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	}
	return []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
}

func (s state) namespaceLabels(name string) map[string]string {
	for _, namespace := range s.namespaces {
		if namespace.Name == name {
			return namespace.Labels
		}
	}
	return nil
}

// selects says whether a selector selects these labels. One that can't be read
// selects nothing; the API server accepts none such.
func selects(selector *metav1.LabelSelector, of map[string]string) bool {
	compiled, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && compiled.Matches(labels.Set(of))
}

// addressed says whether a pod has an address of its own, still.
func addressed(pod *corev1.Pod) bool {
	return pod.Status.PodIP != "" && !pod.Spec.HostNetwork &&
		pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

func addresses(pods []*corev1.Pod) string {
	list := make([]string, len(pods))
	for i, pod := range pods {
		list[i] = pod.Status.PodIP
	}
	return strings.Join(list, ", ")
}
