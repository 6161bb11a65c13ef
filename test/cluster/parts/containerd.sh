# containerd, with Debian's runc and CNI plugins, all of its folders our own.

start_containerd() {
  local off='"io.containerd.nri.v1.nri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"'
  settle "$state/containerd.toml" <<TOML
version = 4
imports = []
root = "$state/containerd"
state = "$run/containerd"
disabled_plugins = [$off]

[plugins.'io.containerd.server.v1.grpc']
  address = "$containerd_socket"
[plugins.'io.containerd.server.v1.ttrpc']
  address = "$containerd_socket.ttrpc"
[plugins.'io.containerd.internal.v1.opt']
  path = "$state/opt"

[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "model-manager.test/pause:1"
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = "$state/certs.d"

[plugins.'io.containerd.cri.v1.runtime']
  # Containers in virtual machines often may not lower anybody's OOM score.
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  # So that the pods' network namespaces go with the rest of the state.
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "$state/cni"
    use_internal_loopback = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = "runc"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = "$(command -v runc)"
        SystemdCgroup = false
        Root = "$run/runc"
TOML
  start containerd "$bin/containerd" --config "$state/containerd.toml"
  wait_for 30 containerd ctr -a "$containerd_socket" version
  import_pause
}

# The image that every pod's sandbox is made of comes from a file, so that no
# pod needs a registry to begin.
import_pause() {
  ctr -a "$containerd_socket" -n k8s.io images ls -q 2>/dev/null | grep -qx model-manager.test/pause:1 && return
  image -from-file "$bin/pause" -at /pause -entrypoint /pause -tag model-manager.test/pause:1 -save "$state/pause.tar"
  ctr -a "$containerd_socket" -n k8s.io images import --label io.cri-containerd.pinned=pinned "$state/pause.tar" >/dev/null
}
