# The cluster's authorities, certificates and kubeconfigs; made once.

make_certificates() {
  [ -f "$KUBECONFIG" ] && return
  mkdir -p "$pki"
  chmod 700 "$pki"
  authority ca
  authority front-proxy-ca
  certificate ca apiserver /CN=kube-apiserver \
    "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:127.0.0.1,IP:$node_address,IP:$service_address"
  certificate ca kubelet-server "/CN=$node" "DNS:$node,DNS:localhost,IP:$node_address,IP:127.0.0.1"
  certificate ca apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
  certificate front-proxy-ca front-proxy-client /CN=front-proxy-client
  openssl genrsa -out "$pki/service-accounts.key" 2048 2>/dev/null
  openssl rsa -in "$pki/service-accounts.key" -pubout -out "$pki/service-accounts.pub" 2>/dev/null

  # The controller manager is a master, so that its controllers need no
  # accounts of their own: without them it starts 5 s sooner.
  kubeconfig controller-manager /O=system:masters/CN=system:kube-controller-manager
  kubeconfig scheduler /CN=system:kube-scheduler
  kubeconfig proxy /CN=system:kube-proxy
  kubeconfig kubelet "/O=system:nodes/CN=system:node:$node"
  kubeconfig admin /O=system:masters/CN=admin
  cp "$pki/admin.kubeconfig" "$KUBECONFIG.new"
  mv "$KUBECONFIG.new" "$KUBECONFIG" # last of all: it says that all are there
}

private_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$pki/$1.key"; }

authority() { # authority NAME
  private_key "$1"
  openssl req -x509 -new -key "$pki/$1.key" -subj "/CN=$1" -days 3650 -out "$pki/$1.crt" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
}

certificate() { # certificate AUTHORITY NAME SUBJECT [ALTERNATIVE-NAMES]
  private_key "$2"
  {
    echo keyUsage=critical,digitalSignature,keyEncipherment
    echo extendedKeyUsage=serverAuth,clientAuth
    [ -z "${4:-}" ] || echo "subjectAltName=$4"
  } >"$pki/$2.extensions"
  openssl req -new -key "$pki/$2.key" -subj "$3" |
    openssl x509 -req -CA "$pki/$1.crt" -CAkey "$pki/$1.key" -CAcreateserial -days 3650 \
      -extfile "$pki/$2.extensions" -out "$pki/$2.crt" 2>/dev/null
  rm "$pki/$2.extensions"
}

kubeconfig() { # kubeconfig NAME SUBJECT
  certificate ca "$1" "$2"
  cat >"$pki/$1.kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "$api", certificate-authority-data: $(base64 -w 0 "$pki/ca.crt")}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w 0 "$pki/$1.crt"), client-key-data: $(base64 -w 0 "$pki/$1.key")}}]
contexts: [{name: test, context: {cluster: test, user: $1}}]
current-context: test
YAML
  chmod 600 "$pki/$1.kubeconfig"
}
