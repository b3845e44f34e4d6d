#!/bin/bash
# Runs tests in a guest of scripts/test-v2, as its first process: run.sh DIRECTORY, where `commands` lists them, a command a
# line: `DIRECTORY COMMAND`. The last word on the second serial line is how that ended: 0, or how many failed.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root RUST_BACKTRACE=0
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-3}
failed=0

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
  cat /sys/fs/cgroup/cgroup.controllers | sed 's/\</+/g' >/sys/fs/cgroup/cgroup.subtree_control
}

# Before /var/tmp, where the list may be, is covered.
mapfile -t commands <"$1/commands"
prepare
echo "corten: guest $(uname -r), cgroup v2 with $(cat /sys/fs/cgroup/cgroup.controllers), LSMs $(cat /sys/kernel/security/lsm)," \
  "$(nproc) processors, up $(cut -d' ' -f1 /proc/uptime) s"
for line in "${commands[@]}"; do
  read -r directory command <<<"$line"
  cd "$directory" || exit
  echo "corten: run $command"
  begun=$SECONDS
  eval "$command" </dev/null 2>&1 || { failed=$((failed + 1)); echo "corten: FAILED $command"; }
  echo "corten: took $((SECONDS - begun)) s"
done
((${#commands[@]} > 0)) || failed=1
echo "$failed" >/dev/ttyS1
sync
echo o >/proc/sysrq-trigger
sleep 60
