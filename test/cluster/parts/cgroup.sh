# Everything of the cluster runs below one cgroup: the programs in one, pods in
# others, which the kubelet makes. What is in there is ours to end, whoever
# started it. Works with cgroup v2, and with v1 in any layout.

# hierarchies: the roots of the cgroup trees; one in v2, one a controller in v1,
# where often one of v2 stands beside them
hierarchies() {
  if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
    echo /sys/fs/cgroup
  else
    awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/self/mounts | sort -u
  fi
}

# programs_procs: the file that takes the pid of a process of the cluster. In v1
# the programs are in the tree that counts processes: one is enough to know them.
programs_procs() {
  if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
    echo "/sys/fs/cgroup/$cgroup/programs/cgroup.procs"
  else
    echo "/sys/fs/cgroup/pids/$cgroup/programs/cgroup.procs"
  fi
}

make_cgroups() {
  local root file
  if [ -f /sys/fs/cgroup/cgroup.subtree_control ] && [ ! -f "$run/controllers" ]; then
    cat /sys/fs/cgroup/cgroup.subtree_control >"$run/controllers"
  fi
  hierarchies | while read -r root; do
    mkdir -p "$root/$cgroup"
    # A new cpuset of v1 is empty, and takes no process before it is filled.
    for file in cpuset.cpus cpuset.mems; do
      if [ -f "$root/$file" ] && [ -z "$(cat "$root/$cgroup/$file")" ]; then
        cat "$root/$file" >"$root/$cgroup/$file"
      fi
    done
  done
  mkdir -p "$(dirname "$(programs_procs)")"
}

# end_cgroups: kill what is left in them, and remove them
end_cgroups() {
  local tries pids root
  for ((tries = 0; tries < 100; tries++)); do
    pids=$(hierarchies | while read -r root; do
      [ ! -d "$root/$cgroup" ] || find "$root/$cgroup" -name cgroup.procs -exec cat {} + 2>/dev/null || true
    done | sort -un)
    [ -n "$pids" ] || break
    # shellcheck disable=SC2086 # one word a pid
    kill -KILL $pids 2>/dev/null || true
    sleep 0.05
  done
  our_cgroups | while read -r root; do
    find "$root" -depth -type d -exec rmdir {} + || true
  done
  restore_controllers
}

# our_cgroups: the cluster's own, in every tree
our_cgroups() {
  hierarchies | while read -r root; do
    [ ! -d "$root/$cgroup" ] || echo "$root/$cgroup"
  done
}

# With v2 the kubelet turns controllers on at the root; turn off those that
# were off.
restore_controllers() {
  local controller
  [ -f "$run/controllers" ] || return 0
  for controller in $(cat /sys/fs/cgroup/cgroup.subtree_control); do
    grep -qw "$controller" "$run/controllers" || echo "-$controller" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
  done
  rm -f "$run/controllers"
}
