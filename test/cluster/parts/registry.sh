# The image registry, on the node's address: one name of an image serves the
# host, the node and pods. Plain HTTP; its address is a private one, so clients
# in Go don't ask for more.

start_registry() {
  mkdir -p "$state/registry" "$state/certs.d/$registry"
  settle "$state/registry.yaml" <<YAML
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $state/registry}, delete: {enabled: true}}
http: {addr: "$registry"}
YAML
  settle "$state/certs.d/$registry/hosts.toml" <<TOML
server = "http://$registry"
[host."http://$registry"]
  capabilities = ["pull", "resolve"]
TOML
  start registry "$bin/registry" serve "$state/registry.yaml"
  echo "$registry" >"$state/registry-address"
}
