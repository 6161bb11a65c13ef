# The node's address, and the pods' network. Every pod has a link of its own to
# the host, which routes: so all that pods say to each other passes the host's
# packet filter, where network policies are enforced. Pods reach each other and
# the node, and nothing else; nobody outside of the machine reaches a pod.

start_network() {
  local foreign
  foreign=$(for network in "$pod_network" "$service_network"; do
    ip -4 route show to root "$network"
  done | grep -v -e "dev $interface" -e 'dev veth' || true)
  [ -z "$foreign" ] || fail "this machine uses the cluster's addresses already: $foreign"

  # A bridge without ports: some kernels have no dummy interface.
  ip link show "$interface" >/dev/null 2>&1 || ip link add "$interface" type bridge
  ip address replace "$node_address/32" dev "$interface"
  ip link set "$interface" up
  # Gives the way to services a source address, also where there is no default route.
  ip route replace "$service_network" dev "$interface" src "$node_address"
  echo 1 >/proc/sys/net/ipv4/ip_forward

  nft -f - <<NFT
table inet mm-test-border
delete table inet mm-test-border
table inet mm-test-border {
  chain forward {
    type filter hook forward priority -5; policy accept;
    ip saddr $pod_network ip daddr != { $pod_network, $service_network } drop
    ip daddr $pod_network ip saddr != $pod_network drop
  }
}
NFT

  mkdir -p "$state/cni"
  cat >"$state/cni/10-pods.conflist" <<JSON
{
  "cniVersion": "1.0.0",
  "name": "mm-test",
  "plugins": [{
    "type": "ptp",
    "ipMasq": false,
    "ipam": {
      "type": "host-local",
      "dataDir": "$state/cni-addresses",
      "ranges": [[{"subnet": "$pod_network", "rangeStart": "10.201.1.0", "rangeEnd": "10.201.250.254", "gateway": "$pod_gateway"}]],
      "routes": [{"dst": "0.0.0.0/0"}]
    }
  }]
}
JSON
}

# our_tables: of the packet filter
our_tables() {
  nft list tables | grep -E '^table (ip kube-proxy|ip6 kube-proxy|inet mm-test-border|inet mm-test-policies)$' || true
}

# our_links: the node's, and the host's ends of the pods'
our_links() {
  ip -4 -o address show to "$pod_network" | awk '{ print $2 }' | sort -u
}

stop_network() {
  our_tables | while read -r table; do
    # shellcheck disable=SC2086 # a word, a family and a name
    nft delete $table || true
  done
  ip link delete "$interface" 2>/dev/null || true
  # What the CNI library remembers of pods, in a folder that can't be chosen.
  rm -f /var/lib/cni/results/mm-test-*
  rm -rf "$state/cni-addresses"
}
