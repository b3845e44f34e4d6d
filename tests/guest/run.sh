#!/bin/bash
# Runs tests in a guest of scripts/test-v2, as its first process: run.sh DIRECTORY, whose file `commands` has a test program
# a line, with the directory it is to run in before it and its arguments after it. The second serial line says at the end how many
# programs failed, and nothing if it did not come to an end. What fails is run once more, alone, as scripts/test-twice does.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root RUST_BACKTRACE=0
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-3}
most=3
source "$(dirname "$(readlink -f "$0")")/../../scripts/failures.sh"

# What systemd, or a node's initramfs, makes before anything else.
prepare() {
  mount -t tmpfs -o mode=755 run /run
  mkdir -p /run/lock /dev/pts /dev/shm /dev/mqueue
  mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
  mount -t tmpfs -o mode=1777 shm /dev/shm
  mount -t mqueue mqueue /dev/mqueue
  mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup /sys/fs/cgroup
  mount -t securityfs securityfs /sys/kernel/security
  mount -t bpf bpf /sys/fs/bpf
  mount -t tracefs tracefs /sys/kernel/tracing
  # Writable layers are made here: a file system that overlayfs takes, with project quotas.
  mount -t ext4 -o prjquota /dev/vda /tmp && chmod 1777 /tmp
  mount -t tmpfs -o mode=1777 vartmp /var/tmp
  ip link set lo up
  # All of a node's processes are in a cgroup of their own, so that controllers can be enabled below the root.
  mkdir /sys/fs/cgroup/init.scope && echo $$ >/sys/fs/cgroup/init.scope/cgroup.procs
  sed 's/\</+/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
}

# A test program with its arguments.
run() {
  local log names name
  log=$(mktemp)
  "$@" </dev/null 2>&1 | tee "$log"
  ((PIPESTATUS[0] == 0)) && return
  mapfile -t names < <(failed "$log")
  panics "$log" >>/run/panics
  ((${#names[@]} > 0 && ${#names[@]} <= most)) || return 1
  for name in "${names[@]}"; do
    echo "corten: run once more, alone: $name"
    "$1" --exact "$name" </dev/null 2>&1 | tee "$log"
    ((PIPESTATUS[0] == 0)) && grep -qxF "test $name ... ok" "$log" || return 1
    flaky+=("$name")
  done
}

# Before /var/tmp, where the list may be, is covered.
mapfile -t commands <"$1/commands"
prepare
echo "corten: guest $(uname -r), cgroup v2 with $(cat /sys/fs/cgroup/cgroup.controllers), LSMs $(cat /sys/kernel/security/lsm)," \
  "$(nproc) processors, up $(cut -d' ' -f1 /proc/uptime) s"
failed=() flaky=()
for line in "${commands[@]}"; do
  eval "words=($line)"
  cd "${words[0]}" || exit
  echo "corten: run ${words[*]:1}"
  begun=$SECONDS
  run "${words[@]:1}" || failed+=("$(basename "${words[1]}")")
  echo "corten: took $((SECONDS - begun)) s"
done
echo
[[ ! -s /run/panics ]] || cat /run/panics
((${#flaky[@]} == 0)) || echo "corten: FLAKY in the guest, failed among others and passed alone: ${flaky[*]}"
((${#failed[@]} == 0)) || echo "corten: FAILED in the guest: ${failed[*]}"
((${#commands[@]} > 0)) || failed=("nothing to run")
echo "${#failed[@]}" >/dev/ttyS1
sync
echo o >/proc/sysrq-trigger
sleep 60
