# kubelet and kube-proxy: the one node.

start_kubelet() {
  settle "$state/resolv.conf" <<<'# what lies outside of the cluster has no name'
  settle "$state/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $node_address
healthzBindAddress: 127.0.0.1
containerRuntimeEndpoint: unix://$containerd_socket
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $pki/kubelet-server.crt
tlsPrivateKeyFile: $pki/kubelet-server.key
clusterDomain: cluster.local
clusterDNS: [$dns_address]
resolvConf: $state/resolv.conf
podLogsDir: $state/pod-logs
volumePluginDir: $state/kubelet-plugins
serializeImagePulls: false
registryPullQPS: 0
maxPods: 250
evictionHard: {memory.available: 200Mi, nodefs.available: 1Gi, imagefs.available: 1Gi, nodefs.inodesFree: "1%"}
evictionPressureTransitionPeriod: 15s
imageGCHighThresholdPercent: 100
syncFrequency: 10s
nodeStatusUpdateFrequency: 5s
YAML
  # The kubelet reads its settings once; those that it has may be of another checkout.
  [ ! "$state/kubelet.yaml" -nt "$run/kubelet.pid" ] || stop kubelet
  start kubelet "$bin/kubelet" --config "$state/kubelet.yaml" --kubeconfig "$pki/kubelet.kubeconfig" \
    --hostname-override "$node" --node-ip "$node_address" --root-dir "$state/kubelet"
}

start_proxy() {
  # Connection tracking is the machine's: nothing of it is changed.
  settle "$state/kube-proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
bindAddress: $node_address
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
hostnameOverride: $node
clientConnection: {kubeconfig: $pki/proxy.kubeconfig}
clusterCIDR: $pod_network
nodePortAddresses: [$node_address/32]
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
YAML
  start kube-proxy "$bin/kube-proxy" --config "$state/kube-proxy.yaml"
}

wait_for_node() {
  wait_for 120 'the node' kubectl get node "$node"
  kubectl wait --for=condition=Ready "node/$node" --timeout=120s >/dev/null
  wait_for 60 'the first service account' kubectl get serviceaccount default --namespace default
}

# stop_pods: end every container, whether or not containerd is running
stop_pods() {
  local id
  local -a control=(ctr --address "$containerd_socket" --namespace k8s.io)
  alive containerd || return 0
  for id in $("${control[@]}" tasks ls -q 2>/dev/null); do
    "${control[@]}" tasks kill --signal KILL "$id" >/dev/null 2>&1 || true
  done
  for id in $("${control[@]}" containers ls -q 2>/dev/null); do
    "${control[@]}" tasks delete --force "$id" >/dev/null 2>&1 || true
    "${control[@]}" containers delete "$id" >/dev/null 2>&1 || true
  done
}
