# Where the test cluster lives, and its addresses. Sourced by every script here.

# A machine has room for one cluster: its network and cgroups are the machine's.
# Whatever two checkouts on one machine do, they mean the same cluster.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/model-manager/cluster
state=${MM_CLUSTER_STATE:-$cache/state} # what the cluster remembers: etcd, images, certificates
run=/run/model-manager-test             # what ends with a reboot: pids, sockets, the settings to put back
bin=$cache/bin                          # links to the programs of this checkout
logs=$state/logs
pki=$state/pki
export KUBECONFIG=$state/kubeconfig

node=node-1
interface=mm-test             # carries the node's addresses; pods hang beside it
cgroup=model-manager-test     # all that runs here is below it
pod_network=10.201.0.0/16
pod_gateway=10.201.0.1        # the host's end of every pod's own link
node_address=10.201.0.2       # API server, registry, kubelet
service_network=10.202.0.0/16
service_address=10.202.0.1    # the API server, to pods
dns_address=10.202.0.10
registry=$node_address:5000
api=https://$node_address:6443
etcd=http://127.0.0.1:12379
containerd_socket=$run/containerd.sock

export PATH=$bin:$PATH:/usr/sbin:/sbin

say() { printf '%s (%ss)\n' "$*" "$SECONDS"; }
fail() {
  printf 'cluster: %s\n' "$*" >&2
  exit 1
}

# forget FOLDER: remove from the cache what nobody has used for a month
forget() { find "$1" -mindepth 1 -maxdepth 1 -mtime +30 -exec rm -rf {} +; }

# One script changes the cluster at a time. The lock ends with the script; what
# the script starts doesn't inherit it.
lock() {
  [ "$(id -u)" = 0 ] || fail 'only root can make network links, mounts and cgroups'
  while :; do
    mkdir -p "$run"
    exec {lock_file}>"$run/lock"
    flock -n "$lock_file" || {
      echo 'waiting for another script that changes the cluster'
      flock "$lock_file"
    }
    # The one before may have removed the folder, and with it the lock.
    [ ! "/dev/fd/$lock_file" -ef "$run/lock" ] || return 0
    exec {lock_file}>&-
  done
}
