# etcd, API server, controller manager, scheduler.

start_etcd() {
  # Without fsync: the state of a test cluster may be lost with the power.
  start etcd "$bin/etcd" --name test --data-dir "$state/etcd" --log-level warn \
    --listen-client-urls "$etcd" --advertise-client-urls "$etcd" \
    --listen-peer-urls http://127.0.0.1:12380 --initial-advertise-peer-urls http://127.0.0.1:12380 \
    --initial-cluster test=http://127.0.0.1:12380 \
    --unsafe-no-fsync --quota-backend-bytes 8589934592
}

start_apiserver() {
  start kube-apiserver "$bin/kube-apiserver" --etcd-servers "$etcd" \
    --bind-address "$node_address" --advertise-address "$node_address" --secure-port 6443 \
    --service-cluster-ip-range "$service_network" \
    --client-ca-file "$pki/ca.crt" --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
    --kubelet-certificate-authority "$pki/ca.crt" --kubelet-preferred-address-types InternalIP \
    --kubelet-client-certificate "$pki/apiserver-kubelet-client.crt" --kubelet-client-key "$pki/apiserver-kubelet-client.key" \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-signing-key-file "$pki/service-accounts.key" --service-account-key-file "$pki/service-accounts.pub" \
    --requestheader-client-ca-file "$pki/front-proxy-ca.crt" --requestheader-allowed-names front-proxy-client \
    --requestheader-extra-headers-prefix X-Remote-Extra- --requestheader-group-headers X-Remote-Group --requestheader-username-headers X-Remote-User \
    --proxy-client-cert-file "$pki/front-proxy-client.crt" --proxy-client-key-file "$pki/front-proxy-client.key" \
    --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged
  wait_for 120 'the API server' kubectl get --raw /readyz
}

start_controllers() {
  local config=$pki/controller-manager.kubeconfig
  start kube-controller-manager "$bin/kube-controller-manager" --bind-address 127.0.0.1 --leader-elect=false \
    --kubeconfig "$config" --authentication-kubeconfig "$config" --authorization-kubeconfig "$config" \
    --service-account-private-key-file "$pki/service-accounts.key" --root-ca-file "$pki/ca.crt" \
    --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" \
    --flex-volume-plugin-dir "$state/kubelet-plugins" # or it makes a folder in /usr
  config=$pki/scheduler.kubeconfig
  start kube-scheduler "$bin/kube-scheduler" --bind-address 127.0.0.1 --leader-elect=false \
    --kubeconfig "$config" --authentication-kubeconfig "$config" --authorization-kubeconfig "$config"
}
