# Programs that outlive the script, known by pid and start time: a pid alone
# could by now be somebody else's.

# alive NAME: the program that was recorded under this name is running
alive() {
  local pid started
  read -r pid started 2>/dev/null <"$run/$1.pid" || return 1
  [ "$started" = "$(start_time "$pid")" ]
}

# start_time PID: in clock ticks since boot; nothing if there is no such
# process, or only its remains. The name in the file may hold spaces.
start_time() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  stat=${stat##*) }
  case $stat in
  Z*) ;;
  *) cut -d ' ' -f 20 <<<"$stat" ;;
  esac
}

# settle FILE: write the settings of standard input to the file, unless it has
# them. A kube-proxy that runs ends as soon as its file is written again.
settle() {
  local text
  text=$(cat)
  if [ ! -f "$1" ] || [ "$text" != "$(cat "$1")" ]; then
    printf '%s\n' "$text" >"$1.new"
    mv "$1.new" "$1"
  fi
}

# start NAME COMMAND…: unless it is running. The process writes itself down
# before it turns into the program, so none can be lost by an interruption. It
# gets a clean environment: no proxy, no KUBECONFIG.
start() {
  local name=$1
  shift
  alive "$name" && return
  # shellcheck disable=SC2016 # expands in the new process
  env -i PATH="$bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME=/root setsid bash -c '
    record=$1 procs=$2
    shift 2
    echo $$ >"$procs"
    stat=$(<"/proc/$$/stat")
    fields=(${stat##*) })
    echo "$$ ${fields[19]}" >"$record.new"
    mv "$record.new" "$record"
    exec "$@"
  ' start "$run/$name.pid" "$(programs_procs)" "$@" >>"$logs/$name.log" 2>&1 </dev/null {lock_file}>&- &
  wait_for 30 "$name" alive "$name"
}

# stop NAME…: ask all of them to end, wait for each up to 10 s, then kill it
stop() {
  local name pid tries
  for name in "$@"; do
    if alive "$name"; then
      read -r pid _ <"$run/$name.pid"
      kill "$pid" 2>/dev/null || true
    fi
  done
  for name in "$@"; do
    for ((tries = 0; tries < 200; tries++)); do
      alive "$name" || break
      sleep 0.05
    done
    if alive "$name"; then
      read -r pid _ <"$run/$name.pid"
      kill -KILL "$pid" 2>/dev/null || true
    fi
    rm -f "$run/$name.pid"
  done
}

# our_mounts: of the cluster's programs, pods and containers
our_mounts() {
  awk -v state="$state/" -v run="$run/" 'index($5, state) == 1 || index($5, run) == 1 { print $5 }' /proc/self/mountinfo
}

# wait_for SECONDS WHAT COMMAND…: until the command succeeds
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || fail "$what did not get ready; see $logs"
    sleep 0.1
  done
}
