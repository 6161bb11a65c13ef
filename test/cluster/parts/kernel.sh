# Settings of the whole machine that Kubernetes changes: the kubelet some of
# them unasked. They are put back when the cluster goes.

sysctls='net.ipv4.ip_forward
kernel.panic
kernel.panic_on_oops
kernel.keys.root_maxkeys
kernel.keys.root_maxbytes
vm.overcommit_memory
vm.panic_on_oom'

save_sysctls() {
  local name
  [ -f "$run/sysctls" ] && return
  for name in $sysctls; do
    echo "$name $(cat "/proc/sys/${name//.//}")"
  done >"$run/sysctls.new"
  mv "$run/sysctls.new" "$run/sysctls"
}

restore_sysctls() {
  local name value
  [ -f "$run/sysctls" ] || return 0
  while read -r name value; do
    echo "$value" >"/proc/sys/${name//.//}"
  done <"$run/sysctls"
  rm -f "$run/sysctls"
}
