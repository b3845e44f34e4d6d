# Sourced with a name: a cortend of its own below /run/corten-NAME and /var/lib/corten-NAME, in cgroup /corten-NAME.
# Wants $bin, the directory of the programs.
# shellcheck shell=bash disable=SC2154

name=corten-$1
state=/run/$name
root=/var/lib/$name
socket=$state/corten.sock
export CONTAINER_RUNTIME_ENDPOINT=unix://$socket CORTEN_LOG_DIR=$state/logs CORTEN_DATA_DIR=$root/volumes

corten() { "$bin/corten" "$@"; }

cortend_runs() { [[ -f $state/pid ]] && kill -0 "$(cat "$state/pid")" 2>/dev/null; }

# start_cortend LINE...: with these lines of configuration.
start_cortend() {
  [[ $(id -u) == 0 ]] || { echo "This needs root." >&2; exit 1; }
  ! cortend_runs || { echo "It runs already; to end it: make stop" >&2; exit 1; }
  [[ ! -e $state ]] || stop_cortend
  mkdir -p "$state" "$root"
  {
    printf 'root = "%s"\nstate = "%s"\nsocket = "%s"\n' "$root/images" "$state/pods" "$socket"
    printf '[cgroup]\ndriver = "cgroupfs"\ndefault_parent = "/%s"\n' "$name"
    printf '%s\n' "$@"
  } >"$state/config.toml"
  launch_cortend
}

launch_cortend() {
  setsid "$bin/cortend" --config "$state/config.toml" >>"$state/cortend.log" 2>&1 </dev/null &
  echo $! >"$state/pid"
  for _ in $(seq 200); do
    corten version >/dev/null 2>&1 && return
    cortend_runs || break
    sleep 0.05
  done
  echo "cortend does not answer; its log:" >&2
  cat "$state/cortend.log" >&2
  return 1
}

# Removes the pods, ends the daemon, removes every directory and cgroup. Safe to call at any time and again.
stop_cortend() {
  trap - EXIT
  trap '' INT TERM HUP
  [[ -e $state ]] || return 0
  # A daemon that was killed is started once more: it knows what its pods have on this machine.
  if [[ -f $state/config.toml ]] && { cortend_runs || launch_cortend; }; then
    corten pods -q | while read -r pod; do corten rm -f "$pod" >/dev/null; done
    end_cortend
  fi
  find /sys/fs/cgroup -depth -type d -path "*/$name*" -exec rmdir {} + 2>/dev/null || true
  rm -rf --one-file-system "$state" "$root"
  echo "$name has stopped; nothing is left of it."
}

end_cortend() {
  local pid
  pid=$(cat "$state/pid")
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 200); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.05
  done
  echo "cortend ($pid) does not end" >&2
  kill -9 "$pid" 2>/dev/null || true
}
