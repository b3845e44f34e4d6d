#!/bin/bash
# Runs tests in a guest of scripts/test-v2, as its first process: run.sh DIRECTORY, whose file `commands` is the list of test programs.
# shellcheck source=tests/guest/programs.sh
source "$(dirname "$(readlink -f "$0")")/programs.sh"

# What systemd, or a node's initramfs, makes before anything else.
prepare() {
  mount -t tmpfs -o mode=755 run /run
  mkdir -p /run/lock /dev/pts /dev/shm /dev/mqueue
  ln -s /proc/self/fd /dev/fd
  mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
  mount -t tmpfs -o mode=1777 shm /dev/shm
  mount -t mqueue mqueue /dev/mqueue
  mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
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

# Before /var/tmp, where the list may be, is covered.
commands=$(<"$1/commands")
prepare
echo "corten: guest $(uname -r), cgroup v2 with $(cat /sys/fs/cgroup/cgroup.controllers), LSMs $(cat /sys/kernel/security/lsm)," \
  "$(nproc) processors, up $(cut -d' ' -f1 /proc/uptime) s"
run_all "$commands"
finish
